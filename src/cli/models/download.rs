//! Downloads in pieces, so that an interrupted download continues where it stopped.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::net::{Client, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

/// Bytes per request: a lost connection costs at most these.
const PIECE: u64 = 1 << 20;
/// Time limit for one piece.
const PATIENCE: Duration = Duration::from_mins(2);
/// Largest file that is accepted. A server without range requests sends it whole.
const WHOLE: usize = 256 << 20;
/// Attempts per piece.
const ATTEMPTS: u32 = 4;

/// Downloads `url` into `file`. Until it is complete, the content lies in `file` with `.part` appended, also after an
/// error.
///
/// # Errors
/// When the address is refused, the server fails or refuses, or the file cannot be written.
pub async fn fetch(client: &Client, url: &str, file: &Path) -> anyhow::Result<()> {
    let part = file.with_added_extension("part");
    let mut have = std::fs::metadata(&part).map_or(0, |file| file.len());
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}")?;
    let bar = ProgressBar::new(0).with_style(style).with_message(name);
    loop {
        let answer = piece(client, url, have).await.with_context(|| format!("cannot fetch {url}"))?;
        let whole = match answer.status {
            StatusCode::PARTIAL_CONTENT => {
                let (start, whole) = content_range(&answer.headers)
                    .with_context(|| format!("{url}: the server does not say which part it sent"))?;
                if start != have {
                    bail!("{url}: asked for the bytes from {have} on, the server sent those from {start} on");
                }
                append(&part, &answer.body)?;
                have += answer.body.len() as u64;
                whole
            }
            StatusCode::OK => {
                let _ = std::fs::remove_file(&part);
                append(&part, &answer.body)?;
                have = answer.body.len() as u64;
                have
            }
            // The partial file is longer than the file on the server, so it belongs to another version.
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
                std::fs::remove_file(&part).with_context(|| format!("cannot remove {}", part.display()))?;
                have = 0;
                continue;
            }
            status => bail!("{url}: the server answers {status}"),
        };
        if whole > WHOLE as u64 {
            bail!("{url}: the server announces {whole} bytes; at most {WHOLE} are accepted");
        }
        bar.set_length(whole);
        bar.set_position(have);
        if have >= whole {
            bar.finish_and_clear();
            return std::fs::rename(&part, file).with_context(|| format!("cannot make {}", file.display()));
        }
        if answer.body.is_empty() {
            bail!("{url}: the server stopped at {have} of {whole} bytes");
        }
    }
}

/// The piece that begins at `start`. Lost connections and server errors are retried.
async fn piece(client: &Client, url: &str, start: u64) -> anyhow::Result<Response> {
    let mut attempt = 1;
    loop {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_str(&format!("bytes={start}-{}", start + PIECE - 1))?);
        let request = Request {
            method: Method::GET,
            target: client.guard().check(url)?,
            headers,
            body: None,
            timeout: PATIENCE,
            max_answer: WHOLE,
        };
        match client.send(request).await {
            Ok(answer) if !answer.status.is_server_error() || attempt == ATTEMPTS => return Ok(answer),
            Err(error) if attempt == ATTEMPTS => return Err(error.into()),
            Err(error @ (crate::net::Error::Refused(_) | crate::net::Error::TooLarge { .. })) => {
                return Err(error.into());
            }
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(250 << attempt)).await;
        attempt += 1;
    }
}

/// Start of the piece and length of the file, from `bytes START-END/LENGTH`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (piece, whole) = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    Some((piece.split_once('-')?.0.parse().ok()?, whole.parse().ok()?))
}

fn append(part: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let open = std::fs::OpenOptions::new().create(true).append(true).open(part);
    open.and_then(|mut file| file.write_all(bytes)).with_context(|| format!("cannot write {}", part.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_known_by_its_place_in_the_whole() {
        let headers =
            |text: &'static str| HeaderMap::from_iter([(header::CONTENT_RANGE, HeaderValue::from_static(text))]);
        assert_eq!(content_range(&headers("bytes 100-199/1234")), Some((100, 1234)));
        for nonsense in ["bytes */1234", "100-199/1234", "bytes 100-199/*", ""] {
            assert_eq!(content_range(&headers(nonsense)), None, "{nonsense:?}");
        }
    }
}
