//! Changing single fields of an image, with their checksums put right.
