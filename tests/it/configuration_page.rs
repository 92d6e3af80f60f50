//! `docs/configuration.md` lists every setting as the binary itself does. The page about organisations lists all of
//! their settings.

use std::path::Path;
use std::process::Command;

use visavis::domain::tenant::TenantSettings;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

#[test]
fn the_page_of_settings_is_what_the_binary_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_visavis")).args(["docs", "configuration"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let page = page("configuration.md");
    let (_, rest) = page.split_once("<!-- begin: visavis docs configuration -->\n\n").unwrap();
    let (tables, _) = rest.split_once("\n<!-- end -->").unwrap();
    assert!(printed.contains("DATABASE_URL"), "{printed}");
    assert_eq!(
        tables.trim(),
        printed.trim(),
        "put the output of `visavis docs configuration` into docs/configuration.md"
    );
}

#[test]
fn the_page_of_organisations_names_every_setting_that_there_is() {
    let page = page("operate/organisations.md");
    let table: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
    for setting in TenantSettings::default().fields().keys() {
        let name = format!("`{setting}`");
        assert!(table.iter().any(|row| row.contains(&name)), "docs/operate/organisations.md does not list {name}");
    }
}
