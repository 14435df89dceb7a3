"""Vectors computed by the released TensorFlow code, and their checker.

`python -m tests.golden FILE.npz [FILE.npz ...]`, from the repository's root,
compares our code with any vector file of this format; see `checker`.
"""
