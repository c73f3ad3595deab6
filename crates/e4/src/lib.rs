//! e4: under construction.
