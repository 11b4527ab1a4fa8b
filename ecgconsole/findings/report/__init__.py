"""The stage report: all results of an output folder on one self-contained page, for a reader who was not there.

``sources`` reads what there is, one file a section turns it into words, tables and drawings, ``disclosure``
keeps small groups of people out of it, ``page`` puts everything together.
"""
