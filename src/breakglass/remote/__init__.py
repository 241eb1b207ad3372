"""What breakglass runs on other hosts: `python3 breakglass-remote.pyz SCRIPT ...`.

The standard library only, Python 3.8 or newer, nothing of breakglass outside of this package. All
of it travels as one zipapp (see pack.py).
"""
