//! Looks for traces of erased data: in every column of every table, in every file, in every log.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sqlx::{AssertSqlSafe, PgPool};

/// Bytes to look for: raw, in hex and in Base64.
pub struct Needle {
    pub name: String,
    spellings: Vec<Vec<u8>>,
}

impl Needle {
    pub fn text(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), spellings: vec![text.into(), hex::encode(text).into()] }
    }

    /// Three slices of a file that occur in no other file.
    pub fn slices(name: &str, file: &[u8]) -> Vec<Self> {
        // At multiples of 3, so that the slice's Base64 is a part of the file's.
        let step = file.len() / 12 * 3;
        let at = |index: usize| {
            let slice = &file[index * step..][..30];
            let spellings = vec![slice.to_vec(), hex::encode(slice).into(), BASE64_STANDARD.encode(slice).into()];
            Self { name: format!("{name}, slice {index}"), spellings }
        };
        (1..4).map(at).collect()
    }

    fn is_in(&self, haystack: &[u8]) -> bool {
        self.spellings.iter().any(|bytes| haystack.windows(bytes.len()).any(|window| window == bytes))
    }
}

/// Where in the database the needles are.
pub async fn database(pool: &PgPool, needles: &[Needle]) -> Vec<String> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'",
    )
    .fetch_all(pool)
    .await
    .expect("the database answers");
    let mut found = Vec::new();
    for (table, column) in columns {
        // As text, Postgres shows bytes in hex.
        let statement = format!(r#"SELECT coalesce(string_agg("{column}"::text, ' '), '') FROM "{table}""#);
        let content: String =
            sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(pool).await.expect("the database answers");
        found.extend(present(&content, needles, &format!("{table}.{column}")));
    }
    found
}

/// The files below the folder that hold a needle, and those named like one.
pub fn files(folder: &Path, needles: &[Needle]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a folder of ours").path();
        let place = path.display().to_string();
        if path.is_dir() {
            found.extend(files(&path, needles));
        } else {
            let content = std::fs::read(&path).expect("a file of ours");
            let hit = |needle: &&Needle| needle.is_in(&content) || needle.is_in(place.as_bytes());
            found.extend(needles.iter().filter(hit).map(|needle| format!("{} in {place}", needle.name)));
        }
    }
    found
}

/// Which needles a text holds.
pub fn present(text: &str, needles: &[Needle], place: &str) -> Vec<String> {
    needles
        .iter()
        .filter(|needle| needle.is_in(text.as_bytes()))
        .map(|needle| format!("{} in {place}", needle.name))
        .collect()
}
