//! e4-sync: under construction.
