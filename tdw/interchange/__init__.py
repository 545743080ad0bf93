"""Runs of other programs, read and written.

looks.py           what a file looks like by its bytes, and the restricted unpickler
foreign.py         what a reader finds, the same for every form
layouts.py         weights in other layouts, and refusals of other networks
nanda.py           `.pth` files of Nanda's grokking code and of TransformerLens' demonstration
state_dicts.py     state dicts of TransformerLens, one or a folder of them
workbench.py       folders of an earlier workbench
optimizer.py       a stored AdamW: its settings, and the state that training goes on from
splits.py          which pairs were trained on, by the losses
matching.py        what labels of epochs mean, and which split goes with the losses
importing.py       import_run: all of it together, into a project file
exporting.py       export_run: state dicts of TransformerLens

`Project.imported` is a dict of source (its name), form, split (None where it is not known, else rule, seed, fraction, train,
test, error, chance, compared_at), inferred, converted and contradicted (sentences), unknown (names of settings that stand
at some value all the same), resumable, and why_not.
"""
