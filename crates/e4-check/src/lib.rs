//! e4-check: under construction.
