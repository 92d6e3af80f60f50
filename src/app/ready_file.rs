//! The file that says that all roles of this process run.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;

/// The file that `--ready-file` names, if it does.
pub(super) struct ReadyFile(pub(super) Option<PathBuf>);

impl ReadyFile {
    /// Writes the HTTP address, or an empty line without the role `api`. The file appears whole, so that nobody reads
    /// half an address.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&self, address: Option<SocketAddr>) -> anyhow::Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        let draft = file.with_added_extension("new");
        let address = address.map_or_else(String::new, |address| address.to_string());
        std::fs::write(&draft, format!("{address}\n"))
            .and_then(|()| std::fs::rename(&draft, file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Removes the file if it is there. A file of an earlier process would say that this one is ready.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", file.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_file_is_removed_a_missing_one_is_no_fault_and_an_unwritable_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready");
        let ready = ReadyFile(Some(path.clone()));
        ready.remove().unwrap();
        ready.write(Some("127.0.0.1:8080".parse().unwrap())).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "127.0.0.1:8080\n");
        ready.remove().unwrap();
        assert!(!path.exists());
        let missing = ReadyFile(Some(folder.path().join("no such folder/ready")));
        assert!(missing.write(None).unwrap_err().to_string().contains("no such folder/ready"));
        ReadyFile(None).write(None).unwrap();
    }
}
