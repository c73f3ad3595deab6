//! e4-device: under construction.
