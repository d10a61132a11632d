"""The embedded text: documentation of installed packages, and their interface strings in two languages.

Public for tasks and pre-training: `from tlbench import corpora`, then `corpora.apidoc` and
`corpora.interface`. Text is data: files are parsed, nothing is imported or executed.
"""

from tlbench.corpora import apidoc, interface

__all__ = ["apidoc", "interface"]
