//! e4-sim: under construction.
