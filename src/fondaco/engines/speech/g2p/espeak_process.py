"""A program: asks eSpeak NG's library for phonemes. Run by `espeak.py`, apart from everything else.

Arguments: the library, and the folder of its data or an empty string. Each line of its input is a JSON array of a
voice and a list of clauses; each line of its output is the list of what they sound like. It ends with its input.
"""

import ctypes
import json
import sys

_IPA, _TIED_BY_CARET, _UTF8 = 0x02, 0x80 | ord("^") << 8, 1
_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000


def main(library: str, data: str) -> None:
    espeak = ctypes.CDLL(library)
    espeak.espeak_TextToPhonemes.restype = ctypes.c_char_p
    espeak.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    if espeak.espeak_Initialize(_SYNCHRONOUS, 0, data.encode() or None, _DO_NOT_EXIT) < 0:
        sys.exit(1)
    for line in sys.stdin.buffer:
        voice, clauses = json.loads(line)
        espeak.espeak_SetVoiceByName(voice.encode())
        sys.stdout.write(json.dumps([_phonemes(espeak, clause) for clause in clauses]) + "\n")
        sys.stdout.flush()


def _phonemes(espeak: ctypes.CDLL, clause: str) -> str:
    left = ctypes.c_char_p(clause.encode())
    said: list[str] = []
    while left.value is not None:
        said.append(
            (espeak.espeak_TextToPhonemes(ctypes.byref(left), _UTF8, _IPA | _TIED_BY_CARET) or b"").decode()
        )
    return " ".join(said)


main(*sys.argv[1:])
