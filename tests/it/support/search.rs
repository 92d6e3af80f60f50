//! Looks for traces of what should be gone: in every column of every table, in every file, in every log.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sqlx::{AssertSqlSafe, PgPool};

/// Bytes to look for, as they stand, in hex and in Base64.
pub struct Needle {
    pub name: String,
    spellings: Vec<Vec<u8>>,
}

impl Needle {
    pub fn text(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), spellings: vec![text.into(), hex::encode(text).into()] }
    }

    /// Three slices of a file, none of them like any other file's.
    pub fn slices(name: &str, file: &[u8]) -> Vec<Self> {
        // Multiples of 3: so the slice's Base64 is a part of the file's.
        let step = file.len() / 12 * 3;
        let at = |index: usize| {
            let slice = &file[index * step..][..30];
            let spellings = vec![slice.to_vec(), hex::encode(slice).into(), BASE64_STANDARD.encode(slice).into()];
            Self { name: format!("{name}, slice {index}"), spellings }
        };
        (1..4).map(at).collect()
    }

    fn is_in(&self, haystack: &[u8]) -> bool {
        self.spellings.iter().any(|it| haystack.windows(it.len()).any(|window| window == it))
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
        // Of bytes, the text is their hex.
        let statement = format!(r#"SELECT coalesce(string_agg("{column}"::text, ' '), '') FROM "{table}""#);
        let content: String =
            sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(pool).await.expect("the database answers");
        found.extend(present(&content, needles, &format!("{table}.{column}")));
    }
    found
}

/// Which files below the folder hold the needles, and which are named like one.
pub fn files(folder: &Path, needles: &[Needle]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a folder of ours").path();
        let place = path.display().to_string();
        if path.is_dir() {
            found.extend(files(&path, needles));
        } else {
            let content = std::fs::read(&path).expect("a file of ours");
            let hit = |it: &&Needle| it.is_in(&content) || it.is_in(place.as_bytes());
            found.extend(needles.iter().filter(hit).map(|it| format!("{} in {place}", it.name)));
        }
    }
    found
}

/// Which needles a text holds.
pub fn present(text: &str, needles: &[Needle], place: &str) -> Vec<String> {
    needles.iter().filter(|it| it.is_in(text.as_bytes())).map(|it| format!("{} in {place}", it.name)).collect()
}
