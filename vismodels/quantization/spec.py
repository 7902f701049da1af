"""What a uniform quantizer is: bits and sign. Torch-free."""

from dataclasses import dataclass

FULL_PRECISION = 32  # bits of a tensor that is left as it is


@dataclass(frozen=True)
class QuantSpec:
    """The integers that a quantizer can put out.

    Args:
        bits: 1 or more; 32 stands for no quantization.
        signed: the range is [-2**(bits-1), 2**(bits-1) - 1]; otherwise [0, 2**bits - 1].

    Raises:
        ValueError: for bits outside [1, 32], or one signed bit.
    """

    bits: int
    signed: bool

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= FULL_PRECISION:
            raise ValueError(f"bits must be 1 to {FULL_PRECISION}, got {self.bits}")
        if self.signed and self.bits == 1:
            raise ValueError("a signed quantizer has 2 bits or more, got 1")

    @property
    def minimum(self) -> int:
        """The smallest integer."""
        return -int(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        """The largest integer."""
        return int(2 ** (self.bits - self.signed)) - 1

    @property
    def is_full_precision(self) -> bool:
        """Whether tensors are left as they are."""
        return self.bits == FULL_PRECISION
