//! From text to tokens.

use crate::error::Place;
use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take_until, take_while, take_while_m_n, take_while1},
    character::complete::{char, digit1, one_of, satisfy},
    combinator::{map, map_opt, opt, recognize},
    multi::{many0_count, many1_count},
    sequence::{delimited, pair, preceded, terminated},
};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TokenKind<'t> {
    /// A name, an opcode or a directive, with its dots: `%tid.x`, `ld.global.f32`, `.reg`.
    Word(&'t str),
    /// An integer literal.
    Integer(u64),
    /// A single-precision literal, as its bits: `0f3F800000`.
    Single(u32),
    /// A double-precision literal, as its bits: `0d3FF0000000000000`, or in decimal.
    Double(u64),
    /// A quoted text, without the quotes.
    Quoted(&'t str),
    /// Punctuation.
    Sign(char),
    /// The end of the text.
    End,
}

/// A token with where it stands and how it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'t> {
    pub kind: TokenKind<'t>,
    pub text: &'t str,
    pub place: Place,
}

const SIGNS: &str = "{}[]()<>,;:+-=@!|";

fn blank(input: &str) -> IResult<&str, ()> {
    let space = take_while1(char::is_whitespace);
    let line = recognize(pair(tag("//"), take_while(|c| c != '\n')));
    let block = recognize((tag("/*"), take_until("*/"), tag("*/")));
    map(many0_count(alt((space, line, block))), |_| ()).parse(input)
}

fn word(input: &str) -> IResult<&str, TokenKind<'_>> {
    let first = satisfy(|c| c.is_ascii_alphabetic() || "_$%.".contains(c));
    let letters = take_while1(|c: char| c.is_ascii_alphanumeric() || "_$.".contains(c));
    // `::` belongs to a qualified part such as `shared::cta`; a single colon ends a label.
    let qualified = recognize(pair(tag("::"), satisfy(|c| c.is_ascii_alphanumeric())));
    map(recognize(pair(first, many0_count(alt((letters, qualified))))), TokenKind::Word).parse(input)
}

fn hexadecimal<'t>(digits: usize) -> impl Parser<&'t str, Output = u64, Error = nom::error::Error<&'t str>> {
    map_opt(take_while_m_n(digits, digits, |c: char| c.is_ascii_hexdigit()), |text| u64::from_str_radix(text, 16).ok())
}

fn single(input: &str) -> IResult<&str, TokenKind<'_>> {
    map(preceded((char('0'), one_of("fF")), hexadecimal(8)), |bits| TokenKind::Single(bits as u32)).parse(input)
}

fn double(input: &str) -> IResult<&str, TokenKind<'_>> {
    map(preceded((char('0'), one_of("dD")), hexadecimal(16)), TokenKind::Double).parse(input)
}

fn decimal(input: &str) -> IResult<&str, TokenKind<'_>> {
    let exponent = |input| recognize((one_of("eE"), opt(one_of("+-")), digit1)).parse(input);
    let fraction = recognize((digit1, char('.'), digit1, opt(exponent)));
    let whole = recognize((digit1, exponent));
    map_opt(alt((fraction, whole)), |text: &str| text.parse().ok().map(|value: f64| TokenKind::Double(value.to_bits())))
        .parse(input)
}

fn integer(input: &str) -> IResult<&str, TokenKind<'_>> {
    let radix = |radix: u32| move |text: &str| u64::from_str_radix(text, radix).ok();
    let digits = |input| take_while1(|c: char| c.is_ascii_hexdigit()).parse(input);
    let hexadecimal = map_opt(preceded((char('0'), one_of("xX")), digits), radix(16));
    let binary = map_opt(preceded((char('0'), one_of("bB")), digits), radix(2));
    let octal = map_opt(preceded(char('0'), digit1), radix(8));
    let decimal = map_opt(digit1, radix(10));
    map(terminated(alt((hexadecimal, binary, octal, decimal)), opt(char('U'))), TokenKind::Integer).parse(input)
}

fn quoted(input: &str) -> IResult<&str, TokenKind<'_>> {
    map(delimited(char('"'), take_while(|c| c != '"' && c != '\n'), char('"')), TokenKind::Quoted).parse(input)
}

fn sign(input: &str) -> IResult<&str, TokenKind<'_>> {
    map(one_of(SIGNS), TokenKind::Sign).parse(input)
}

fn number(input: &str) -> IResult<&str, TokenKind<'_>> {
    // A letter right behind a number would make it another word.
    let (rest, kind) = alt((single, double, decimal, integer)).parse(input)?;
    let glued = many1_count(satisfy(|c| c.is_ascii_alphanumeric() || c == '_')).parse(rest);
    let glued: IResult<&str, usize> = glued;
    match glued {
        Ok(_) => Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Digit))),
        Err(_) => Ok((rest, kind)),
    }
}

/// The tokens of `text`, closed by [`TokenKind::End`]; or the place of what is none.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Place> {
    let mut tokens = Vec::new();
    let (mut rest, mut place) = (text, Place { line: 1, column: 1 });
    loop {
        let after = blank(rest).map_or(rest, |(after, ())| after);
        place = place.after(&rest[..rest.len() - after.len()]);
        if after.is_empty() {
            tokens.push(Token { kind: TokenKind::End, text: "", place });
            return Ok(tokens);
        }
        let (next, kind) = alt((quoted, number, word, sign)).parse(after).map_err(|_| place)?;
        let written = &after[..after.len() - next.len()];
        tokens.push(Token { kind, text: written, place });
        place = place.after(written);
        rest = next;
    }
}
