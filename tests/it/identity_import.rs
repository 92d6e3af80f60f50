//! `visavis identity import`: rows are imported or reported, and a killed import loses and doubles nothing.

use std::fmt::Write as _;
use std::process::{Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use visavis::domain::identity::{IdNumber, IdType};

use crate::support::photos::{blank, photo};
use crate::support::{World, blobs, obtain};

const ROWS: usize = 2_000;

fn printed(output: &Output) -> (Option<i32>, String) {
    let told = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    (output.status.code(), told)
}

/// A picture of a few bytes.
fn portrait() -> String {
    BASE64_STANDARD.encode(blank())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_import_continues_where_it_was_and_a_repeated_one_changes_nothing() {
    let world = World::without_broker().await;
    let (file, portrait) = (world.path("people.jsonl"), portrait());
    let rows =
        (0..ROWS).map(|i| json!({ "id_number": format!("{i:011}"), "portrait": portrait, "name": format!("N {i}") }));
    std::fs::write(&file, rows.map(|row| row.to_string() + "\n").collect::<String>()).unwrap();
    let arguments = ["identity", "import", file.to_str().unwrap(), "--id-type", "nin", "--parallel", "2"];
    let count = async || world.count("SELECT count(*) FROM identity_registry").await;

    let mut first = world.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let before = obtain("some rows are in", Duration::from_mins(1), async || {
        let count = count().await;
        (count >= 50).then_some(count)
    })
    .await;
    first.kill().unwrap();
    first.wait().unwrap();
    let killed_at = count().await;
    assert!(killed_at >= before && killed_at < i64::try_from(ROWS).unwrap(), "killed on its way, at {killed_at}");

    let (status, told) = printed(&world.run(&arguments).await);
    // The database may have finished statements of the killed process after we counted, one per row in progress.
    let expected = (killed_at..=killed_at + 2).map(|unchanged| {
        format!("imported {}, unchanged {unchanged}, refused 0", i64::try_from(ROWS).unwrap() - unchanged)
    });
    assert!(status == Some(0) && expected.clone().any(|line| line == told), "{told}, killed at {killed_at}");
    assert_eq!(count().await, i64::try_from(ROWS).unwrap());
    // The kill may leave portraits without a row behind: noise without a key, at most one per row in progress.
    let blobs = blobs::files(&world.blobs.join("identity")).len();
    assert!((ROWS..=ROWS + 2).contains(&blobs), "{blobs} portraits");

    let (status, told) = printed(&world.run(&arguments).await);
    assert_eq!((status, told), (Some(0), format!("imported 0, unchanged {ROWS}, refused 0")));
    assert_eq!(printed(&world.run(&["identity", "count"]).await).1, format!("nin {ROWS}"));
    let last = IdNumber::parse(&format!("{:011}", ROWS - 1)).unwrap();
    let found = world.registry().find(IdType::Nin, &last).await.unwrap().unwrap();
    assert_eq!(
        (found.portrait.as_ref(), &found.record.attributes["name"]),
        (blank(), &json!(format!("N {}", ROWS - 1)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_at_fault_are_reported_by_line_and_code_and_the_others_are_imported() {
    const SECRET: &str = "53cr3t0fS0mebody";
    let world = World::without_broker().await;
    std::fs::create_dir(world.path("portraits")).unwrap();
    std::fs::write(world.path("portraits/1.jpg"), photo("obama.jpg")).unwrap();
    std::fs::write(world.path("portraits/text.jpg"), SECRET).unwrap();
    std::fs::write(world.path("portraits/cut.jpg"), &photo("obama.jpg")[..5000]).unwrap();
    let outside = world.path("portraits/1.jpg");
    let row =
        |number: &str, portrait: &str| json!({ "id_number": number, "portrait": portrait, "n": SECRET }).to_string();
    let good = portrait();
    let rows: Vec<(String, Option<&str>)> = vec![
        (row("1", &good), None),
        (row("2", "portraits/1.jpg"), None),
        (row("3", "./portraits/1.jpg"), None),
        (row("4", &format!("data:image/png;base64,{good}")), None),
        (format!("  {}\r", row("5", &good)), None),
        (SECRET.to_owned(), Some("malformed_row")),
        ("[1]".to_owned(), Some("malformed_row")),
        (format!("{{\"id_number\": \"{SECRET}\""), Some("malformed_row")),
        (json!({ "portrait": good }).to_string(), Some("missing_field")),
        (json!({ "id_number": SECRET }).to_string(), Some("missing_field")),
        (json!({ "id_number": 5, "portrait": good }).to_string(), Some("invalid_type")),
        (row("", &good), Some("invalid_id_number")),
        (row(&SECRET.repeat(5), &good), Some("invalid_id_number")),
        (row(" 1 ", &good), Some("duplicate_number")),
        (row("6", SECRET), Some("portrait_unreadable")),
        (row("7", "portraits"), Some("portrait_unreadable")),
        (row("8", "portraits/../portraits/1.jpg"), Some("portrait_unreadable")),
        (row("9", outside.to_str().unwrap()), Some("portrait_unreadable")),
        (row("10", "portraits/text.jpg"), Some("unsupported_image_format")),
        (row("11", "portraits/cut.jpg"), Some("invalid_image")),
        (row("12", &BASE64_STANDARD.encode(&photo("obama.jpg")[..5000])), Some("invalid_image")),
        (
            json!({ "id_number": "13", "portrait": good, "n": SECRET.repeat(20_000) }).to_string(),
            Some("attributes_too_large"),
        ),
        (row("14", &"A".repeat(17 << 20)), Some("row_too_large")),
        (row("15", &good), None),
    ];
    let file = world.path("people.jsonl");
    // A blank line counts as a line but is no row. The last line has no line break.
    let text: Vec<_> = rows.iter().map(|(text, _)| text.as_str()).collect();
    std::fs::write(&file, format!("\n{}", text.join("\n"))).unwrap();
    let report = world.path("errors.jsonl");
    let (input, errors) = (file.to_str().unwrap(), report.to_str().unwrap());
    let output = world.run(&["identity", "import", input, "--id-type", "Passport", "--errors", errors]).await;
    let good = rows.iter().filter(|(_, fault)| fault.is_none()).count();
    let refused = rows.len() - good;
    assert_eq!(printed(&output), (Some(3), format!("imported {good}, unchanged 0, refused {refused}")));

    let text = std::fs::read_to_string(&report).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|row| row["line"].as_u64());
    let expected: Vec<_> = rows.iter().enumerate().filter_map(|(i, row)| Some((i as u64 + 2, row.1?))).collect();
    let found: Vec<_> =
        lines.iter().map(|row| (row["line"].as_u64().unwrap(), row["code"].as_str().unwrap())).collect();
    assert_eq!(found, expected);
    assert!(lines.iter().all(|row| row["message"].as_str().unwrap().len() > 10 && row.as_object().unwrap().len() == 3));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains(SECRET) && !text.contains("portraits/") && !told.contains(SECRET), "{text}{told}");

    // Without a file for them, the first refused rows are on standard error.
    let output = world.run(&["identity", "import", input, "--id-type", "passport"]).await;
    assert_eq!(printed(&output), (Some(3), format!("imported 0, unchanged {good}, refused {refused}")));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("line 7: malformed_row: ") && told.contains(&format!("and {} more", refused - 10)), "{told}");
    assert!(!told.contains(SECRET), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_is_read_by_its_header() {
    let world = World::without_broker().await;
    std::fs::write(world.path("1.jpg"), photo("obama.jpg")).unwrap();
    let mut text = "\u{feff}name,id_number,portrait,address\n".to_owned();
    let good = portrait();
    writeln!(text, "\"Quill, Z\",001,1.jpg,").unwrap();
    writeln!(text, "B,002,{good},\"two\nlines\"").unwrap();
    writeln!(text, "C,003").unwrap();
    writeln!(text, "D,,{good},x").unwrap();
    writeln!(text, "E,005,missing.jpg,x").unwrap();
    writeln!(text, "F,006,{good},x").unwrap();
    let (file, report) = (world.path("people.csv"), world.path("errors.jsonl"));
    std::fs::write(&file, text).unwrap();
    let (input, errors) = (file.to_str().unwrap(), report.to_str().unwrap());
    let output = world.run(&["identity", "import", input, "--id-type", "nin", "--errors", errors]).await;
    assert_eq!(printed(&output), (Some(3), "imported 3, unchanged 0, refused 3".to_owned()));
    let report = std::fs::read_to_string(report).unwrap();
    let mut report: Vec<Value> = report.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    report.sort_by_key(|row| row["line"].as_u64());
    let found: Vec<_> =
        report.iter().map(|row| (row["line"].as_u64().unwrap(), row["code"].as_str().unwrap())).collect();
    assert_eq!(found, [(5, "malformed_row"), (6, "missing_field"), (7, "portrait_unreadable")]);

    let find = async |number: &str| {
        let found = world.registry().find(IdType::Nin, &IdNumber::parse(number).unwrap()).await.unwrap().unwrap();
        Value::Object(found.record.attributes)
    };
    assert_eq!(find("001").await, json!({ "name": "Quill, Z" }));
    assert_eq!(find("002").await, json!({ "name": "B", "address": "two\nlines" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_files_are_refused_before_anything_is_imported() {
    let world = World::without_broker().await;
    for (name, text, because) in [
        ("no-number.csv", "name,portrait\nA,1.jpg\n", "no column id_number"),
        ("no-portrait.csv", "id_number,name\n1,A\n", "no column portrait"),
        ("twice.csv", "id_number,portrait,a,a\n", "twice"),
        ("people.txt", "{}", "--format"),
    ] {
        let file = world.path(name);
        std::fs::write(&file, text).unwrap();
        let output = world.run(&["identity", "import", file.to_str().unwrap(), "--id-type", "nin"]).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(because), "{name}: {told}");
    }
    let missing = world.path("missing.csv");
    let output = world.run(&["identity", "import", missing.to_str().unwrap(), "--id-type", "nin"]).await;
    assert_eq!(output.status.code(), Some(1));
    let output = world.run(&["identity", "import", missing.to_str().unwrap(), "--id-type", "ssn"]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("drivers_license"));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_erased_by_number_or_all_at_once() {
    let world = World::without_broker().await;
    let file = world.path("people.jsonl");
    let rows = (0..5).map(|i| json!({ "id_number": format!("N{i}"), "portrait": portrait() }).to_string() + "\n");
    std::fs::write(&file, rows.collect::<String>()).unwrap();
    for id_type in ["nin", "bvn"] {
        world.run(&["identity", "import", file.to_str().unwrap(), "--id-type", id_type]).await;
    }
    let numbers = world.path("numbers");
    std::fs::write(&numbers, "n0\n\nN4\nN9\n").unwrap();
    let input = std::fs::File::open(&numbers).unwrap();
    let mut command = world.command(&["identity", "delete", "--id-type", "nin"]);
    let output = command.stdin(input).output().unwrap();
    assert_eq!(printed(&output), (Some(3), "erased 2, unknown 1".to_owned()));
    assert_eq!(printed(&world.run(&["identity", "count"]).await).1, "bvn 5\nnin 3");
    let output = world.run(&["identity", "delete", "--id-type", "bvn", "--all"]).await;
    assert_eq!(printed(&output), (Some(0), "erased 5".to_owned()));
    assert_eq!(printed(&world.run(&["identity", "count"]).await).1, "nin 3");
    assert_eq!(blobs::count(&world.blobs), 3);
}
