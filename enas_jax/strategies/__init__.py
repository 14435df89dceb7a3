"""Who proposes architectures, and how it learns: a method a file.

`base.py` states the contract, `registry.py` names the methods.
"""
