"""The proof of a crossing: both sides run, compared layer by layer and through a training step."""

from lamina.interchange.proof.comparing import verify
from lamina.report.conversion import Comparison, Proof

__all__ = ["Comparison", "Proof", "verify"]
