"""Recognizers: a frozen encoder under probes."""

from .probe_recognizer import ProbeRecognizer

__all__ = ['ProbeRecognizer']
