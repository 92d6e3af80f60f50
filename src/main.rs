//! The one binary. Its commands are in `cli`.

fn main() -> std::process::ExitCode {
    // Here and not in the library: a new commit then rebuilds this file alone.
    visavis::cli::main(visavis_commit::commit!())
}
