//! Configurations: what is refused is refused with its line, what is taken is printed and taken again.

use crate::cli::config::Config;

/// Reads the bytes as the text of a configuration.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text) {
        Ok(config) => check_print(&config),
        Err(message) => check_refusal(text, &message),
    }
}

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, &|name| (name == "SET").then(|| "a: [b".to_owned())).map_err(|e| e.message)
}

/// What is printed is a configuration that says the same; references that a default has left stay out.
fn check_print(config: &Config) {
    let printed = config.print();
    if printed.contains("${") {
        return;
    }
    match parse(&printed) {
        Ok(again) => assert_eq!(again.print(), printed),
        Err(e) => panic!("refused what was printed: {e}\n{printed}"),
    }
}

fn check_refusal(text: &str, message: &str) {
    assert!(!message.is_empty());
    let line = message.strip_prefix("line ").and_then(|rest| rest.split_once(": ")?.0.parse::<usize>().ok());
    if let Some(line) = line {
        let lines = text.split(['\n', '\r']).count();
        assert!((1..=lines + 1).contains(&line), "{message} of {lines} lines");
    }
}
