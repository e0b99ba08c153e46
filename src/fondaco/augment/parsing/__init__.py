"""The text of untrusted documents, taken out in processes that can do nothing else.

One process loads the libraries and then only forks; each document is read by a fork of its own, under limits that the
kernel keeps, and leaves nothing behind. Nothing is ever written to a disk.
"""
