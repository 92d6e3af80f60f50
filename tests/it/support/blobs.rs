//! The folder of the encrypted images, and a way to make a reader of one wait for ever.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

/// An image that was replaced by a named pipe, so that readers wait. Dropping this ends their wait; they then read an
/// image that does not decrypt.
pub struct Hung {
    place: PathBuf,
    kept: PathBuf,
}

impl Hung {
    /// Replaces the blob.
    pub fn new(place: PathBuf) -> Self {
        let kept = place.with_extension("kept");
        fs::rename(&place, &kept).expect("the image is in the blob folder");
        mknodat(CWD, &place, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a named pipe can be made");
        Self { place, kept }
    }

    /// Puts the blob back. Readers that wait at the pipe keep waiting.
    pub fn put_back(self) {
        fs::rename(&self.kept, &self.place).expect("the blob folder can be written");
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // A writer that comes and goes ends the readers' wait; without readers the opening fails, as well.
        let _ = open(&self.place, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
    }
}

/// The number of files below a folder.
pub fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("a folder of ours").path());
    entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
}

/// The content of every file below.
pub fn contents(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("a folder of ours").path());
    let files = entries.map(|path| {
        if path.is_dir() { contents(&path) } else { vec![fs::read(&path).expect("a file of ours can be read")] }
    });
    files.flatten().collect()
}
