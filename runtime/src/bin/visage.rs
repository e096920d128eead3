//! The `visage` command.

fn main() -> std::process::ExitCode {
    visage_runtime::command::main(std::env::args_os())
}
