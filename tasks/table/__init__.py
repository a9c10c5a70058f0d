"""Tables of any size as columns of numbers: found, read in pieces, measured, shuffled, written label first."""
