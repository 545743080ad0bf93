"""Recovers the intact parts of a damaged project file: every part that a checksum proves, and a sentence for each other one.

A reader refuses a damaged file as a whole; here each part is judged on its own.

locate.py   the layout and the commit records, if need be from this computer's records or planned again from the settings
sealed.py   settings, notes and split: repaired where replacing one of them makes the seal match again
parts.py    curves, checkpoints, resume state and analyses
wreck.py    reading a file that may end early or have unreadable sectors
rebuild.py  a new file of the intact parts
"""

from tdw.store.salvage.parts import Salvage, survey
from tdw.store.salvage.rebuild import rebuild
from tdw.store.salvage.wreck import Advice, Config, Repaired, Split

__all__ = ["Advice", "Config", "Repaired", "Salvage", "Split", "rebuild", "survey"]
