//! The folder of the encrypted images, and a way to make a reader of one wait for ever.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

/// The number of sealed blobs in a store.
pub fn count(store: &Path) -> usize {
    ["images", "renditions", "identity", "dead"].iter().map(|folder| files(&store.join(folder)).len()).sum()
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("a folder of ours").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The content of every file below.
pub fn contents(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("a folder of ours").path());
    let files = entries.map(|path| {
        if path.is_dir() { contents(&path) } else { vec![fs::read(&path).expect("a file of ours can be read")] }
    });
    files.flatten().collect()
}

/// Makes every blob except one look a day older.
pub fn age(store: &Path, spared: &Path) {
    for path in files(store) {
        if path != spared {
            let then = SystemTime::now() - Duration::from_hours(25);
            let file = fs::File::options().write(true).open(&path).expect("a blob of ours can be written");
            file.set_modified(then).expect("its time can be set");
        }
    }
}

/// A blob that cannot be deleted: a folder that holds a file is in its place.
pub fn poison(place: &Path) {
    let _ = fs::remove_file(place);
    fs::create_dir_all(place).expect("a folder can be made");
    fs::write(place.join("poison"), b"").expect("a file can be written");
}

/// Makes a blob that was poisoned one that can be deleted.
pub fn cure(place: &Path) {
    fs::remove_dir_all(place).expect("the folder is ours");
}
