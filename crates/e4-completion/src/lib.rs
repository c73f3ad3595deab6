//! e4-completion: under construction.
