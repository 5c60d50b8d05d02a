//! `tickwire hash-password`: a line for a server's USERS_FILE.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result, ensure};
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};

/// What AUTH can carry, in bytes; more would never be accepted.
const MAX_NAME: usize = 255;
const MAX_PASSWORD: usize = 1024;

/// The longest end of a line, in bytes: CR and LF.
const MAX_LINE_END: usize = 2;

/// One lane: the server checks a password on one thread.
const LANES: u32 = 1;

/// Make a line for a server's USERS_FILE of a password.
///
/// The password is asked for twice, without being shown; where standard input is no terminal, it is the first line of it. The line goes to
/// standard output: the name, a colon, and the password's hash by argon2id. A server takes tens of milliseconds of a core and 19 MiB to
/// check one; --memory and --iterations make that more or less, for the server as for whoever tries passwords on a stolen file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whose password it is.
    #[arg(long, env = "STREAM_USER", value_name = "NAME", default_value = "tickwire", value_parser = name)]
    user: String,
    /// The memory that checking the password takes, in KiB; the default is OWASP's recommendation.
    #[arg(long, value_name = "KIB", default_value_t = 19_456, value_parser = clap::value_parser!(u32).range(8..=262_144))]
    memory: u32,
    /// The passes over that memory; the default is OWASP's recommendation.
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10))]
    iterations: u32,
}

/// Answers whether all went well.
pub(crate) fn run(args: Args) -> Result<bool> {
    let password = if io::stdin().is_terminal() { ask(&args.user)? } else { first_line(io::stdin().lock())? };
    let line = line(&args, &password)?;
    writeln!(io::stdout(), "{line}")?;
    Ok(true)
}

/// A name that can stand in a line of the file.
fn name(text: &str) -> Result<String, String> {
    if !(1..=MAX_NAME).contains(&text.len()) {
        return Err(format!("a name must have 1 to {MAX_NAME} bytes; this one has {}", text.len()));
    }
    if text.contains(':') {
        return Err("a name must have no colon: one ends the name in the file".into());
    }
    if text.contains(char::is_control) {
        return Err("a name must have no control characters".into());
    }
    if text.trim() != text {
        return Err("a name must neither begin nor end with white space".into());
    }
    if text.starts_with('#') {
        return Err("a name must not begin with #, which makes a line a comment".into());
    }
    Ok(text.to_owned())
}

fn ask(user: &str) -> Result<String> {
    let prompt = |text: String| rpassword::prompt_password(text).context("the password cannot be read");
    let password = prompt(format!("Password of {user}: "))?;
    check(&password)?;
    ensure!(
        prompt("The same again: ".into())? == password,
        "the two are not the same; nothing has been made"
    );
    Ok(password)
}

/// The first line, without its end.
fn first_line(input: impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    // One byte more than can be right shows that there is too much.
    let most = MAX_PASSWORD + MAX_LINE_END + 1;
    input.take(most as u64).read_until(b'\n', &mut line).context("the password cannot be read")?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let password = std::str::from_utf8(line).context("the password is not UTF-8, as AUTH wants it")?;
    check(password)?;
    Ok(password.to_owned())
}

fn check(password: &str) -> Result<()> {
    ensure!(!password.is_empty(), "the password is empty");
    ensure!(password.len() <= MAX_PASSWORD, "the password has more than {MAX_PASSWORD} bytes");
    Ok(())
}

fn line(args: &Args, password: &str) -> Result<String> {
    let params = Params::new(args.memory, args.iterations, LANES, None)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash =
        argon2.hash_password(password.as_bytes()).context("the password cannot be hashed")?;
    Ok(format!("{}:{hash}", args.user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::PasswordVerifier as _;

    #[test]
    fn a_line_verifies_its_password_and_no_other_and_two_lines_share_nothing() {
        let args = Args { user: "ann".into(), memory: 8, iterations: 1 };
        let (one, other) = (line(&args, "apple").unwrap(), line(&args, "apple").unwrap());
        assert_ne!(one, other, "each has a salt of its own");
        for line in [one, other] {
            let hash = line.strip_prefix("ann:").unwrap();
            assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
            let hash = PasswordHash::new(hash).unwrap();
            assert!(Argon2::default().verify_password(b"apple", &hash).is_ok());
            assert!(Argon2::default().verify_password(b"pear", &hash).is_err());
        }
    }

    #[test]
    fn a_name_is_one_that_the_file_can_hold() {
        let longest = "a".repeat(MAX_NAME);
        for good in ["a", "ann", "ann lee", "größe", "a#b", &longest] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        let too_long = "a".repeat(MAX_NAME + 1);
        for bad in ["", "a:b", " ann", "ann\t", "a\nb", "a\0b", "#ann", "ann\u{a0}", &too_long] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_a_line_whatever_ends_it_and_as_long_as_auth_can_carry() {
        let longest = "p".repeat(MAX_PASSWORD);
        for (input, expected) in [
            ("apple\npear\n".to_owned(), "apple"),
            ("apple\r\n".into(), "apple"),
            (" a b ".into(), " a b "),
            (format!("{longest}\r\n"), &longest),
        ] {
            assert_eq!(first_line(input.as_bytes()).unwrap(), expected);
        }
        for bad in [&b""[..], b"\n", b"\r\n", b"\xff\n", format!("{longest}p\n").as_bytes(), &[b'p'; 5000]] {
            assert!(first_line(bad).is_err());
        }
    }
}
