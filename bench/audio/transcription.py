"""`python -m bench.audio.transcription`: our own speech through the transcription engine, in every kind of file.

What it costs beside faster-whisper called bare on the same samples, and how many words come out wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from typing import Any, NamedTuple

import av
import numpy as np
import psutil
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from bench import machine
from bench.audio.errors import error_rate
from bench.report import facts_text, median, save, table, verdict
from fondaco.engines.child import Child, StartFailed
from fondaco.engines.kinds import KINDS, EngineKind
from fondaco.engines.launch import Launch
from fondaco.engines.weights import WeightStore, pinned
from fondaco.media.multipart import File, write_form
from fondaco.models.catalogue import Catalogue
from fondaco.settings import WeightSettings

MAX_CPU_RATIO, MAX_ERRORS = 1.1, 0.05
RATE = 24_000
VOICES = ("af_heart", "am_michael", "bf_emma", "af_bella", "am_fenrir")
SENTENCES = (
    "The train to Manchester leaves from platform nine at half past seven.",
    "Maria Gonzales bought forty two apples and eleven lemons at the market.",
    "Doctor Patel will see you on Thursday, the fourteenth of March.",
    "The invoice of three hundred and fifty dollars is due in thirty days.",
    "Oliver and Charlotte moved to Boston in the summer of nineteen ninety eight.",
    "Please call me back before five, because the office closes early on Friday.",
    "The Amazon flows through Brazil for more than two thousand miles.",
    "In the year two thousand and twelve, Elizabeth won three gold medals.",
    "My grandmother Helen baked twenty four cookies for the whole class.",
    "Turn left after the bridge, and you will find the museum on your right.",
    "Scientists at the University of Chicago measured the distance to the moon.",
    "The temperature fell to minus six degrees during the night.",
    "Robert Johnson played the guitar for sixty minutes without a break.",
    "We need seven chairs, two tables and a large bowl of fresh fruit.",
    "The recipe asks for one cup of sugar and a quarter teaspoon of salt.",
    "Captain James Wilson sailed around the world in eighty days.",
    "The museum in Amsterdam shows more than four hundred paintings.",
    "She read the letter twice, folded it slowly, and put it in her pocket.",
    "Our new colleague Samantha Brooks speaks English, German and Italian.",
    "At ten fifteen the rain stopped, and the children ran into the garden.",
)
FORMS = {
    "wav": ("wav", "pcm_s16le"),
    "mp3": ("mp3", "libmp3lame"),
    "opus": ("ogg", "libopus"),
    "m4a": ("ipod", "aac"),
}
"""libav's names of container and codec."""


class Heard(NamedTuple):
    texts: list[str]
    cpu: float


class Bare:
    """faster-whisper and nothing else, with the engine's settings, on samples that need no decoding."""

    def __init__(self, launch: Launch) -> None:
        os.environ["OMP_WAIT_POLICY"] = "passive"  # as in the engine; read when the runtime is loaded
        import faster_whisper

        from fondaco.engines.transcription.whisper import BEAM_SIZE, temperatures

        files: dict[str, Any] = {"model.bin": launch.model, **launch.files}
        read = {name: open(path, "rb").read() for name, path in files.items()}  # noqa: SIM115, PTH123
        self._model = faster_whisper.WhisperModel(
            "bare", device="cpu", compute_type="int8", cpu_threads=launch.threads, files=read
        )
        self._settings: dict[str, Any] = {
            "beam_size": BEAM_SIZE,
            "temperature": temperatures(0.0),
            "vad_filter": True,
        }

    def hear(self, spoken: Sequence[NDArray[np.float32]], language: str | None) -> Heard:
        cpu, texts = time.process_time(), list[str]()
        for samples in spoken:
            segments, _ = self._model.transcribe(samples, language=language, **self._settings)
            texts.append("".join(segment.text for segment in segments))
        return Heard(texts, time.process_time() - cpu)


def through_engine(child: Child, files: Sequence[bytes], language: str | None) -> Heard:
    process, texts = psutil.Process(child.pid), list[str]()
    cpu = sum(process.cpu_times()[:2])
    for data in files:
        fields = [("language", language)] if language else []
        kind, body = write_form(fields, [("file", File(memoryview(data), "a.bin"))])
        texts.append(json.loads(asked(child, "transcriptions", kind.decode(), body))["text"])
    return Heard(texts, sum(process.cpu_times()[:2]) - cpu)


def speech(child: Child) -> list[NDArray[np.int16]]:
    """Each sentence in one of the voices, at RATE."""
    spoken: list[NDArray[np.int16]] = []
    for number, sentence in enumerate(SENTENCES):
        body = {"input": sentence, "voice": VOICES[number % len(VOICES)], "response_format": "pcm"}
        raw = asked(child, "speech", "application/json", json.dumps(body).encode())
        spoken.append(np.frombuffer(raw, "<i2"))
    return spoken


def asked(child: Child, what: str, kind: str, body: bytes) -> bytes:
    target = child.target
    headers = {name.decode(): value.decode() for name, value in target.headers} | {"content-type": kind}
    url = f"http://{target.host}:{target.port}/v1/audio/{what}"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=600) as answer:
        return answer.read()


def encoded(form: str, pcm: NDArray[np.int16]) -> bytes:
    container, codec = FORMS[form]
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=48_000 if codec == "libopus" else RATE)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        for at in range(0, len(pcm), 4096):
            frame = av.AudioFrame.from_ndarray(pcm[None, at : at + 4096], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, at
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def samples_of(data: bytes) -> NDArray[np.float32]:
    from fondaco.engines.transcription.recording import Recording

    return np.concatenate([piece for piece, _ in Recording(data, 7200).pieces(60)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.audio.transcription", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison with the bare model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--language", default="en", help="that both are told; empty: they find out")
    parser.add_argument("--minutes", type=float, default=3, help="length of the long recording")
    return asyncio.run(_run(parser.parse_args(arguments)))


async def _run(options: argparse.Namespace) -> int:
    facts, bystanders = machine.facts(), machine.Bystanders.watch()
    language = options.language or None
    try:
        speaking = await _started("speech", options.threads)
        try:
            spoken = await asyncio.to_thread(speech, speaking[0])
        finally:
            await speaking[0].stop()
        hearing, launch = await _started("transcription", options.threads)
    except StartFailed as error:
        print(f"bench.audio.transcription: an engine did not start: {error.kind}", file=sys.stderr)
        return 1
    try:
        files = {form: [encoded(form, pcm) for pcm in spoken] for form in FORMS}
        heard = {
            form: await asyncio.to_thread(through_engine, hearing, each, language)
            for form, each in files.items()
        }
        bare = Bare(launch)
        short = [samples_of(data) for data in files["mp3"]]
        long = _long(spoken, options.minutes)
        pairs: dict[str, list[tuple[Heard, Heard]]] = {"20 sentences": [], "one recording": []}
        await asyncio.to_thread(through_engine, hearing, files["mp3"][:1], language)
        bare.hear(short[:1], language)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for name, one, other in (
                ("20 sentences", short, files["mp3"]),
                ("one recording", [samples_of(long)], [long]),
            ):
                alone = bare.hear(one, language)
                pairs[name].append((alone, await asyncio.to_thread(through_engine, hearing, other, language)))
        memory = psutil.Process(hearing.pid).memory_info().rss / 2**20
    finally:
        await hearing.stop()
    facts |= {
        "used by others meanwhile": f"{bystanders.share():.0%}",
        "memory of the engine": f"{memory:.0f} MiB",
    }
    seconds = {"20 sentences": sum(map(len, short)) / 16_000, "one recording": len(samples_of(long)) / 16_000}
    rows = [
        [
            f"{name}, {seconds[name]:.0f} s of mp3",
            *(f"{median([pair[at].cpu for pair in found]):.1f}" for at in (0, 1)),
            f"{median([pair[1].cpu / pair[0].cpu for pair in found]):.2f}",
        ]
        for name, found in pairs.items()
    ]
    rates = {form: error_rate(SENTENCES, each.texts) for form, each in heard.items()}
    verdicts = [
        verdict(
            f"{name}: CPU at most {MAX_CPU_RATIO:g} × bare faster-whisper",
            median([pair[1].cpu / pair[0].cpu for pair in found]) <= MAX_CPU_RATIO,
            f"{median([pair[1].cpu / pair[0].cpu for pair in found]):.2f}",
        )
        for name, found in pairs.items()
    ] + [
        verdict(
            f"{form}: at most {MAX_ERRORS:.0%} of words wrong",
            wrong <= MAX_ERRORS * said,
            f"{wrong / said:.1%}",
        )
        for form, (wrong, said) in rates.items()
    ]
    print(
        facts_text(facts),
        table(["CPU, s", "bare", "engine", "ratio"], rows),
        table(["20 sentences as", "words", "wrong"], [[f, str(n), str(e)] for f, (e, n) in rates.items()]),
        "\n".join(verdicts),
        sep="\n\n",
    )
    figures = {"rates": rates, "pairs": pairs, "texts": {form: each.texts for form, each in heard.items()}}
    print(f"\nall figures: {save('transcription', {'facts': facts, 'verdicts': verdicts, **figures})}")
    return 0


def _long(spoken: Sequence[NDArray[np.int16]], minutes: float) -> bytes:
    """The sentences one after the other with pauses between, over and over."""
    pauses = [np.zeros(int(RATE * (0.3 + 0.4 * (number % 4))), np.int16) for number in range(len(spoken))]
    once = np.concatenate([part for pair in zip(spoken, pauses, strict=True) for part in pair])
    size = int(minutes * 60 * RATE)
    return encoded("mp3", np.tile(once, size // len(once) + 1)[:size])


async def _started(kind: EngineKind, threads: int) -> tuple[Child, Launch]:
    """The default model of a kind in a process of its own, fetched if need be. Raises StartFailed."""
    model = next(local for local in Catalogue().local if local.engine == kind)
    store = WeightStore(WeightSettings())
    try:
        weight = await store.fetch(pinned()[model.weight])
        files = {role: str(await store.fetch(pinned()[name])) for role, name in model.parts}
    finally:
        await store.close()
    launch = Launch(
        model=str(weight), files=files, options=dict(model.options), name=model.model.id, threads=threads
    )
    child = await Child.spawn(launch, KINDS[kind].command)
    await child.ready(120)
    return child, launch


if __name__ == "__main__":
    sys.exit(main())
