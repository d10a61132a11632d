"""The embedded text: documentation of installed packages, and their interface strings in two languages.

Public for tasks and pre-training: `from tlbench import corpora`, then `corpora.apidoc` and
`corpora.interface`. Text is data: files are parsed, nothing is imported or executed.
"""

from tlbench.corpora import apidoc, interface
from tlbench.corpora.described import described, spelled_out
from tlbench.corpora.documentation import DocumentationTask, both_sides
from tlbench.corpora.markup import plain, role_target, sentences
from tlbench.corpora.parse import Docstring
from tlbench.corpora.sections import sections
from tlbench.corpora.split import apart, parts, test_texts, unseen

__all__ = [
    "Docstring", "DocumentationTask", "apart", "apidoc", "both_sides", "described", "interface", "parts", "plain",
    "role_target", "sections", "sentences", "spelled_out", "test_texts", "unseen",
]
