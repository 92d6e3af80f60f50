//! A reader of an account's event stream, which resumes after each cut.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::Client;
use tokio::time::{sleep, timeout};

use crate::fleet::Fleet;
use crate::organisations::Organisation;
use crate::witness::{EventSeen, Witness};

/// A comment comes every 15 s. A stream that says nothing for longer is dead.
const SILENCE: Duration = Duration::from_secs(40);
const AGAIN: Duration = Duration::from_millis(300);

/// Reads an account's events until it is dropped.
pub async fn read(fleet: &Fleet, organisation: &Organisation, sandbox: bool, witness: &Arc<Witness>) {
    let Ok(client) = Client::builder().no_proxy().connect_timeout(SILENCE).build() else { return };
    let mut reader = Reader { last: None, turn: 0 };
    loop {
        // However it ends, the next one resumes behind the last event.
        let _ = reader.follow(&client, fleet, organisation, sandbox, witness).await;
        reader.turn += 1;
        sleep(AGAIN).await;
    }
}

struct Reader {
    /// The id of the last event.
    last: Option<String>,
    turn: usize,
}

impl Reader {
    async fn follow(
        &mut self,
        client: &Client,
        fleet: &Fleet,
        organisation: &Organisation,
        sandbox: bool,
        witness: &Arc<Witness>,
    ) -> Result<()> {
        let apis = fleet.apis();
        let api = apis.get(self.turn % apis.len().max(1)).context("no API runs")?;
        let mut request = client.get(format!("http://{api}/v1/events")).bearer_auth(organisation.key(sandbox));
        if let Some(last) = &self.last {
            request = request.header("last-event-id", last);
        }
        let mut response = timeout(SILENCE, request.send()).await??.error_for_status()?;
        {
            let mut sight = witness.sight();
            if !sight.streams.contains(&(organisation.id, sandbox)) {
                sight.streams.push((organisation.id, sandbox));
            }
        }
        let mut text = Vec::new();
        while let Some(chunk) = timeout(SILENCE, response.chunk()).await?? {
            text.extend_from_slice(&chunk);
            while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = text.drain(..end + 2).collect();
                let Some((id, body)) = parse(&String::from_utf8_lossy(&event)) else { continue };
                let seen = EventSeen { organisation: organisation.id, sandbox, id: id.clone(), body };
                witness.sight().streamed.push(seen);
                self.last = Some(id);
            }
        }
        Ok(())
    }
}

/// Id and data of an event; nothing for comments.
fn parse(event: &str) -> Option<(String, serde_json::Value)> {
    let field = |name: &str| {
        event.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim_start().to_owned()))
    };
    Some((field("id")?, serde_json::from_str(&field("data")?).ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_has_an_id_and_data_and_a_comment_has_none() {
        let event = "id: 7\nevent: job.completed\ndata: {\"a\":1}\n\n";
        assert_eq!(parse(event), Some(("7".to_owned(), json!({ "a": 1 }))));
        assert_eq!(parse(": still here\n\n"), None);
    }
}
