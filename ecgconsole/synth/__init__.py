"""Synthetic cohorts in the true MIMIC-III layout, with the truth beside them."""

from ecgconsole.synth.synthesise import synthesise

__all__ = ["synthesise"]
