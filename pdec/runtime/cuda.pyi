"""What the generated part of a module for CuPy provides to its driver.

The text is CUDA C: records, the functions of generated.pyi for one sample, all of whose
threads run them together, and copies in and out (targets/records.py).
"""

_CUDA_PARTS: tuple[str, ...]

# what a record holds, in this order; "Totals" in float64, all else in the run's dtype
_RECORDS: dict[str, dict[str, tuple[int, ...]]]
_PLACES: dict[str, tuple[slice, ...]]  # where _SHARED lies within the margins
_LANED: tuple[str, ...]  # of "Totals": in parts, of each thread or each block
_LAUNCHES: dict[str, int]  # of each function, where each phase is a launch of its own
_THREADS: int  # of a block
_BLOCKS: int  # that work on a sample together
_TILES: int  # numbers that tiles of products take in the chip of a block
