//! The one binary; what it can do is in `cli`.

fn main() -> std::process::ExitCode {
    visavis::cli::main()
}
