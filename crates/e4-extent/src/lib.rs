//! e4-extent: under construction.
