//! e4-mkfs: under construction.
