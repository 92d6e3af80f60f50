//! Reads the files of a pack.

use std::path::Path;

use ring::digest::{SHA256, digest};
use serde::de::DeserializeOwned;

use super::fault::PackFault;

pub fn read(path: &Path) -> Result<Vec<u8>, PackFault> {
    std::fs::read(path).map_err(|source| PackFault::Read { path: path.to_owned(), source })
}

/// The bytes of a file whose SHA-256 must be `expected`, in hexadecimal.
pub fn read_verified(path: &Path, expected: &str) -> Result<Vec<u8>, PackFault> {
    let bytes = read(path)?;
    let found = hex::encode(digest(&SHA256, &bytes));
    if found == expected {
        Ok(bytes)
    } else {
        Err(PackFault::Hash { path: path.to_owned(), expected: expected.to_owned(), found })
    }
}

/// Parses `bytes` as TOML. `path` is for the error.
pub fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, PackFault> {
    toml::from_slice(bytes).map_err(|e| PackFault::Parse { path: path.to_owned(), source: Box::new(e) })
}
