"""Codes of a quantizer as a stream of bits: as many bytes as they need, and no more.

Code i takes the bits i * bits to (i + 1) * bits - 1 of the stream, its lowest bit first; bit j of
the stream is bit j % 8 of byte j // 8. Four-bit codes so lie two in a byte, the first in the lower
half. What is left of the last byte is zero.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

BITS = range(2, 9)


def packed_size(count: int, bits: int) -> int:
    """Return the bytes that `count` codes of `bits` bits take.

    Raises:
        ValueError: for bits outside [2, 8].
    """
    if bits not in BITS:
        raise ValueError(f"codes have {BITS.start} to {BITS.stop - 1} bits, got {bits}")
    return (count * bits + 7) // 8


def pack(codes: Tensor, bits: int) -> Tensor:
    """Return codes as a stream of bits, (packed_size(codes.numel(), bits),), uint8.

    Args:
        codes: any shape, integers in [0, 2**bits - 1].
        bits: of a code, 2 to 8.

    Raises:
        ValueError: for other bits, codes that are not integers, or are out of range.
    """
    size = packed_size(codes.numel(), bits)
    if codes.is_floating_point() or codes.dtype == torch.bool:
        raise ValueError(f"codes are integers, got {codes.dtype}; round and convert them first")
    if codes.numel():
        low, high = map(int, codes.aminmax())
        if low < 0 or high >= 2**bits:
            raise ValueError(f"codes of {bits} bits lie in [0, {2**bits - 1}], got {low} to {high}")
    flat = codes.flatten().to(torch.uint8)
    pieces = 8 // bits if 8 % bits == 0 else 8  # in a byte: whole codes, or else single bits
    width = 8 // pieces
    if width != bits:
        flat = (flat[:, None] >> _shifts(bits, 1, flat)).bitwise_and_(1).flatten()
    padded = flat.new_zeros(size * pieces)
    padded[: flat.numel()] = flat
    return (padded.view(-1, pieces) << _shifts(pieces, width, flat)).sum(1, dtype=torch.uint8)


def unpack(packed: Tensor, bits: int, shape: Sequence[int]) -> Tensor:
    """Return the codes of a stream, of this shape, uint8.

    Args:
        packed: (packed_size(number of codes, bits),), uint8.
        bits: of a code, 2 to 8.
        shape: of the codes.

    Raises:
        ValueError: for other bits, or a stream of another length or type.
    """
    count = prod(shape)
    size = packed_size(count, bits)
    if packed.dtype != torch.uint8 or packed.shape != (size,):
        raise ValueError(
            f"{count} codes of {bits} bits are a stream of {size} bytes, uint8; got "
            f"{tuple(packed.shape)}, {packed.dtype}"
        )
    if bits == 8:
        return packed.view(*shape)
    pieces = 8 // bits if 8 % bits == 0 else 8
    width = 8 // pieces
    flat = (packed[:, None] >> _shifts(pieces, width, packed)).bitwise_and_(2**width - 1)
    if width == bits:
        return flat.flatten()[:count].view(*shape)
    single = flat.flatten()[: count * bits].view(-1, bits)
    return (single << _shifts(bits, 1, packed)).sum(1, dtype=torch.uint8).view(*shape)


def _shifts(count: int, width: int, like: Tensor) -> Tensor:
    return torch.arange(0, count * width, width, dtype=torch.uint8, device=like.device)
