//! e4-journal: under construction.
