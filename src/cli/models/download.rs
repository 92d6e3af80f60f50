//! A pack's files from its address, in pieces, so that a download that broke off goes on where it was.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::net::{Client, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

/// Bytes asked for at a time: what a lost connection costs.
const PIECE: u64 = 1 << 20;
/// For one piece.
const PATIENCE: Duration = Duration::from_mins(2);
/// A server that knows no pieces sends the whole file; more than this is no network of ours.
const WHOLE: usize = 256 << 20;
/// A piece that failed is asked for again so often.
const ATTEMPTS: u32 = 4;

/// Fetches `url` into `file`. What has come so far lies in `file` with `.part` appended, also after an error.
///
/// # Errors
/// When the address is refused, the server does not answer or says no, or the disk is full.
pub async fn fetch(client: &Client, url: &str, file: &Path) -> anyhow::Result<()> {
    let part = file.with_added_extension("part");
    let mut have = std::fs::metadata(&part).map_or(0, |it| it.len());
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
            // What lies there is longer than the file: it is another one's.
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
                std::fs::remove_file(&part).with_context(|| format!("cannot remove {}", part.display()))?;
                have = 0;
                continue;
            }
            status => bail!("{url}: the server answers {status}"),
        };
        if whole > WHOLE as u64 {
            bail!("{url}: the file has {whole} bytes, by what the server says; at most {WHOLE} are taken");
        }
        bar.set_length(whole);
        bar.set_position(have);
        if have >= whole {
            bar.finish_and_clear();
            return std::fs::rename(&part, file).with_context(|| format!("cannot make {}", file.display()));
        }
        if answer.body.is_empty() {
            bail!("{url}: the server sends nothing more, at {have} of {whole} bytes");
        }
    }
}

/// The piece from `start` on; a lost connection or a server that is down for a moment is tried again.
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

/// `bytes START-END/WHOLE`: where a piece starts, and how long the file is.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (piece, whole) = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    Some((piece.split_once('-')?.0.parse().ok()?, whole.parse().ok()?))
}

fn append(part: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let open = std::fs::OpenOptions::new().create(true).append(true).open(part);
    open.and_then(|mut it| it.write_all(bytes)).with_context(|| format!("cannot write {}", part.display()))
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
