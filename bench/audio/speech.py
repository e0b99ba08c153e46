"""`python -m bench.audio.speech`: CPU of the speech engine beside bare Kokoro, and how soon the first audio comes."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import psutil

from bench import machine
from bench.report import facts_text, median, save, table, verdict
from fondaco.engines.child import Child, StartFailed
from fondaco.engines.kinds import KINDS
from fondaco.engines.launch import Launch
from fondaco.engines.speech.g2p.languages import Languages
from fondaco.engines.speech.kokoro import TOKENS
from fondaco.engines.speech.sentences import pieces
from fondaco.engines.speech.voices import VOICES
from fondaco.engines.weights import WeightStore, pinned
from fondaco.settings import WeightSettings

MAX_CPU_RATIO, MAX_FIRST_AUDIO = 1.1, 0.25
VOICE = "af_sky"
FILES = {
    "model": "kokoro-v1.0.int8.onnx",
    "voices": "kokoro-v1.0-voices.bin",
    "words": "english-words.json",
    "letters": "english-letters.npz",
}
TEXT = (
    "The fondaco stood beside the great canal. Its gates were shut at night. Merchants came from the north with furs. "
    "They paid a tax on every bale. The doge counted what they brought. Clerks wrote it down in heavy books. No lie "
    "stayed hidden there for long. In spring the ships set out again. They carried glass and salt. The house slept "
    "until autumn."
)
"""Ten sentences."""


class Spoken(NamedTuple):
    cpu: float
    seconds: float
    first: float
    audio: float
    """Seconds of it."""


class Bare:
    """onnxruntime and nothing else, on the tokens that the engine gives the model."""

    def __init__(self, files: dict[str, str], threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = ort.InferenceSession(files["model"], options, providers=["CPUExecutionProvider"])
        styles = np.fromfile(files["voices"], "<f4").reshape(len(VOICES), 510, 1, 256)
        self._styles = styles[VOICES.index(VOICE)]
        languages = Languages(files)
        spoken = pieces(TEXT, "en-us", lambda text: languages.phonemes(text, "en-us"))
        self._tokens = [[TOKENS[symbol] for symbol in piece.phonemes] for piece in spoken]

    def speak(self) -> Spoken:
        began, cpu, first, samples = time.monotonic(), time.process_time(), 0.0, 0
        for tokens in self._tokens:
            given = {"tokens": np.array([[0, *tokens, 0]], np.int64), "style": self._styles[len(tokens) - 1]}
            [audio] = self._session.run(None, {**given, "speed": np.ones(1, np.float32)})
            samples += audio.size
            first = first or time.monotonic() - began
        return Spoken(time.process_time() - cpu, time.monotonic() - began, first, samples / 24_000)


def through_engine(child: Child, form: str) -> Spoken:
    target, process = child.target, psutil.Process(child.pid)
    body = {"input": TEXT, "voice": VOICE, "response_format": form, "streaming": True}
    request = urllib.request.Request(
        f"http://{target.host}:{target.port}/v1/audio/speech", json.dumps(body).encode()
    )
    began, cpu = time.monotonic(), sum(process.cpu_times()[:2])
    with urllib.request.urlopen(request, timeout=600) as answer:
        answer.read(1)
        first = time.monotonic() - began
        size = 1 + len(answer.read())
    seconds = time.monotonic() - began
    return Spoken(sum(process.cpu_times()[:2]) - cpu, seconds, first, size / 48_000 if form == "pcm" else 0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.audio.speech", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--format", default="mp3", choices=("mp3", "opus", "aac", "flac", "wav", "pcm"))
    return asyncio.run(_run(parser.parse_args(arguments)))


async def _run(options: argparse.Namespace) -> int:
    store = WeightStore(WeightSettings())
    try:
        files = {role: str(await store.fetch(pinned()[name])) for role, name in FILES.items()}
    finally:
        await store.close()
    facts, bystanders = machine.facts(), machine.Bystanders.watch()
    launch = Launch(model=files["model"], files=files, name="tts-kokoro", threads=options.threads)
    child = await Child.spawn(launch, KINDS["speech"].command)
    try:
        await child.ready(120)
        bare = Bare(files, options.threads)
        bare.speak()
        await asyncio.to_thread(through_engine, child, options.format)
        rounds = [
            (bare.speak(), await asyncio.to_thread(through_engine, child, options.format))
            for _ in range(options.rounds)
        ]
        memory = psutil.Process(child.pid).memory_info().rss / 2**20
    except StartFailed as error:
        print(f"bench.audio.speech: the engine did not start: {error.kind}", file=sys.stderr)
        return 1
    finally:
        await child.stop()
    facts["used by others meanwhile"] = f"{bystanders.share():.0%}"
    ratio = median([engine.cpu / alone.cpu for alone, engine in rounds])
    early = median([engine.first / engine.seconds for _, engine in rounds])
    audio = rounds[0][0].audio
    rows = [
        [name, *(f"{median([pair[at][field] for pair in rounds]):.2f}" for at in (0, 1))]
        for field, name in enumerate(("CPU, s", "elapsed, s", "first audio after, s"))
    ]
    rows.append(
        [
            f"CPU per second of speech ({audio:.1f} s)",
            *(f"{median([pair[at].cpu for pair in rounds]) / audio:.2f}" for at in (0, 1)),
        ]
    )
    verdicts = [
        verdict(f"CPU at most {MAX_CPU_RATIO:g} × bare Kokoro", ratio <= MAX_CPU_RATIO, f"{ratio:.2f}"),
        verdict(
            f"first audio within {MAX_FIRST_AUDIO:.0%} of the whole", early <= MAX_FIRST_AUDIO, f"{early:.0%}"
        ),
    ]
    print(
        facts_text(facts),
        table(["ten sentences", "bare Kokoro", f"engine, {options.format}"], rows),
        sep="\n\n",
    )
    print("\n".join(["", *verdicts, f"engine's memory after: {memory:.0f} MiB"]))
    print(
        save("audio-speech", {"facts": facts, "verdicts": verdicts, "memory_mib": memory, "rounds": rounds})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
