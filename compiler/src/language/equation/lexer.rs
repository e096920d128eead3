//! From the text of equations to tokens.

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take_while, take_while1},
    character::complete::{char, digit0, digit1, one_of, satisfy},
    combinator::{opt, recognize, value},
    sequence::{pair, preceded},
};

/// A token; `line` says whether a newline stands before it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
    pub line: bool,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    Name(String),
    Integer(i64),
    Real(f64),
    /// A sign or bracket, as it is written.
    Sign(&'static str),
    End,
}

impl TokenKind {
    /// The token as messages show it.
    pub fn show(&self) -> String {
        match self {
            TokenKind::Name(name) => format!("`{name}`"),
            TokenKind::Integer(number) => format!("`{number}`"),
            TokenKind::Real(number) => format!("`{number}`"),
            TokenKind::Sign(sign) => format!("`{sign}`"),
            TokenKind::End => "the end".into(),
        }
    }
}

/// Every sign, longer ones before their prefixes.
const SIGNS: [&str; 25] = [
    "->", "..", "<=", ">=", "==", "!=", "(", ")", "[", "]", "{", "}", ",", ":", "=", "+", "-", "*", "/", "^", "<", ">",
    "~", "±", ".",
];

fn blank(input: &str) -> IResult<&str, &str> {
    let space = take_while1(char::is_whitespace);
    let comment = recognize(pair(tag("//"), take_while(|c| c != '\n')));
    recognize(nom::multi::many0_count(alt((space, comment)))).parse(input)
}

fn name(input: &str) -> IResult<&str, TokenKind> {
    let first = satisfy(|c| c.is_alphabetic() || c == '_');
    recognize(pair(first, take_while(|c: char| c.is_alphanumeric() || c == '_')))
        .map(|name: &str| TokenKind::Name(name.to_owned()))
        .parse(input)
}

fn number(input: &str) -> IResult<&str, TokenKind> {
    let (rest, whole) = digit1(input)?;
    // A range such as `1..4` is two integers; `1.5` and `1.` are reals.
    let fraction = recognize(preceded(char('.'), digit0));
    let (rest, fraction) = if rest.starts_with("..") { (rest, None) } else { opt(fraction).parse(rest)? };
    let exponent = recognize((one_of("eE"), opt(one_of("+-")), digit1));
    let (rest, exponent) = opt(exponent).parse(rest)?;
    if fraction.is_none()
        && exponent.is_none()
        && let Ok(integer) = whole.parse()
    {
        return Ok((rest, TokenKind::Integer(integer)));
    }
    let written = &input[..input.len() - rest.len()];
    Ok((rest, TokenKind::Real(written.parse().unwrap_or(f64::INFINITY))))
}

fn sign(input: &str) -> IResult<&str, TokenKind> {
    for sign in SIGNS {
        if let Ok((rest, kind)) = value(TokenKind::Sign(sign), tag::<_, _, nom::error::Error<&str>>(sign)).parse(input)
        {
            return Ok((rest, kind));
        }
    }
    Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Tag)))
}

/// The tokens of `text`, closed by [`TokenKind::End`]; or the place of the character that starts none.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, usize> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        let Ok((after, skipped)) = blank(rest) else { return Err(text.len() - rest.len()) };
        let line = skipped.contains('\n');
        let start = text.len() - after.len();
        if after.is_empty() {
            tokens.push(Token { kind: TokenKind::End, start, end: start, line: true });
            return Ok(tokens);
        }
        let (next, kind) = alt((name, number, sign)).parse(after).map_err(|_| start)?;
        tokens.push(Token { kind, start, end: text.len() - next.len(), line });
        rest = next;
    }
}
