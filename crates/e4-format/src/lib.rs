//! e4-format: under construction.
