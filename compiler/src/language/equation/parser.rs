//! From tokens to the syntax tree: recursive descent with precedence climbing.
//!
//! A statement that cannot be read is reported and skipped, so that all mistakes of a text are
//! reported at once.

use super::{
    lexer::{Token, TokenKind, tokens},
    syntax::*,
};
use crate::{
    graph::ScalarOp,
    language::{
        diagnostics::{Problem, Span},
        document::{Name, Text},
    },
};
use std::{collections::BTreeSet, mem};

/// How deeply expressions and blocks may nest.
const DEEPEST: usize = 64;

/// Names with a meaning of their own.
const KEYWORDS: [&str; 13] = ["fn", "for", "in", "if", "else", "as", "by", "axis", "and", "or", "not", "true", "false"];

/// A problem has been reported; the reader skips to where it can go on.
struct Reported;

type Parsed<T> = Result<T, Reported>;

/// The functions of a text: `fn f(x[a], axis a) -> y[a] { … }` and so on.
pub(crate) fn parse_functions(text: &Text, problems: &mut Vec<Problem>) -> Vec<Function> {
    let Some(mut parser) = Parser::new(text, problems) else { return Vec::new() };
    let mut functions = Vec::new();
    while parser.kind() != &TokenKind::End {
        match parser.function() {
            Ok(function) => functions.push(function),
            Err(Reported) => parser.skip_to("fn"),
        }
    }
    functions
}

/// The statements of a text.
pub(crate) fn parse_statements(text: &Text, problems: &mut Vec<Problem>) -> Vec<Statement> {
    let Some(mut parser) = Parser::new(text, problems) else { return Vec::new() };
    let mut statements = parser.statements();
    while parser.kind() != &TokenKind::End {
        parser.expected::<()>("a statement").ok();
        parser.next();
        statements.extend(parser.statements());
    }
    statements
}

/// An expression that takes up a whole text.
pub(crate) fn parse_expression(text: &Text, problems: &mut Vec<Problem>) -> Option<Expression> {
    let mut parser = Parser::new(text, problems)?;
    parser.multiline = true;
    let expression = parser.argument_value().ok()?;
    parser.finish()?;
    Some(expression)
}

/// Axes that take up a whole text: `[ray, sample: coarse]`.
pub(crate) fn parse_shape(text: &Text, problems: &mut Vec<Problem>) -> Option<Vec<AxisDeclaration>> {
    let mut parser = Parser::new(text, problems)?;
    let axes = parser.declared_axes().ok()?;
    parser.finish()?;
    Some(axes)
}

/// A stored value: `[to, from] ~ uniform(± 1 / sqrt(from))` or `[to] = 0`.
pub(crate) fn parse_declaration(text: &Text, problems: &mut Vec<Problem>) -> Option<StoredDeclaration> {
    let mut parser = Parser::new(text, problems)?;
    parser.multiline = true;
    let axes = parser.declared_axes().ok()?;
    let random = parser.eat("~");
    if !random && !parser.eat("=") {
        parser.expected::<()>("`~` and a distribution, or `=` and a value").ok();
        return None;
    }
    let start = parser.expression().ok()?;
    parser.finish()?;
    Some(StoredDeclaration { axes, start, random })
}

struct Parser<'a> {
    text: &'a Text,
    problems: &'a mut Vec<Problem>,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// Inside brackets newlines do not end anything.
    multiline: bool,
    mentions: BTreeSet<String>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a Text, problems: &'a mut Vec<Problem>) -> Option<Parser<'a>> {
        match tokens(&text.value) {
            Ok(tokens) => {
                Some(Parser { text, problems, tokens, at: 0, depth: 0, multiline: false, mentions: BTreeSet::new() })
            }
            Err(place) => {
                let stray = text.value[place..].chars().next().unwrap_or(' ');
                let span = text.span(place, place + stray.len_utf8());
                let message = format!("`{}` has no meaning in an equation", stray.escape_debug());
                problems.push(Problem::new(span, message));
                None
            }
        }
    }

    fn token(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn kind(&self) -> &TokenKind {
        &self.token().kind
    }

    fn span(&self) -> Span {
        self.text.span(self.token().start, self.token().end)
    }

    fn previous(&self) -> Span {
        let token = &self.tokens[self.at.saturating_sub(1)];
        self.text.span(token.start, token.end)
    }

    fn next(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.kind(), TokenKind::Sign(found) if *found == sign)
    }

    /// Whether the next token continues an expression: it is on the same line, or lines do not matter.
    fn continues(&self) -> bool {
        self.multiline || !self.token().line
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        if found {
            self.next();
        }
        found
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.kind(), TokenKind::Name(name) if name == word)
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.next();
        }
        found
    }

    fn fail<T>(&mut self, problem: Problem) -> Parsed<T> {
        self.problems.push(problem);
        Err(Reported)
    }

    fn expected<T>(&mut self, wanted: &str) -> Parsed<T> {
        let found = match self.kind() {
            TokenKind::End => "the text ends".to_owned(),
            other => format!("there is {}", other.show()),
        };
        let problem =
            Problem::new(self.span(), format!("expected {wanted}, but {found}")).label(format!("expected {wanted}"));
        self.fail(problem)
    }

    fn want(&mut self, sign: &str) -> Parsed<()> {
        if self.eat(sign) { Ok(()) } else { self.expected(&format!("`{sign}`")) }
    }

    fn finish(&mut self) -> Option<()> {
        match self.kind() {
            TokenKind::End => Some(()),
            _ => self.expected("the end").ok(),
        }
    }

    fn name(&mut self, wanted: &str) -> Parsed<Name> {
        match self.kind() {
            TokenKind::Name(name) if KEYWORDS.contains(&name.as_str()) => {
                let problem = Problem::new(self.span(), format!("`{name}` is a word of the language, not a name"))
                    .label(format!("expected {wanted}"));
                self.fail(problem)
            }
            TokenKind::Name(name) => {
                let name = Name { span: self.span(), text: name.clone() };
                self.mentions.insert(name.text.clone());
                self.next();
                Ok(name)
            }
            _ => self.expected(wanted),
        }
    }

    /// Runs `inner` with newlines meaning nothing.
    fn bracketed<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let outside = mem::replace(&mut self.multiline, true);
        let result = inner(self);
        self.multiline = outside;
        result
    }

    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEEPEST {
            let problem = Problem::new(self.span(), format!("equations are nested more than {DEEPEST} deep"));
            return self.fail(problem);
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Items with commas between them, up to and including `close`.
    fn list<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.bracketed(|parser| {
            let mut items = Vec::new();
            while !parser.eat(close) {
                items.push(item(parser)?);
                if !parser.eat(",") && !parser.is(close) {
                    return parser.expected(&format!("`,` or `{close}`"));
                }
            }
            Ok(items)
        })
    }

    fn skip_to(&mut self, word: &str) {
        self.multiline = false;
        self.depth = 0;
        loop {
            self.next();
            if self.kind() == &TokenKind::End || self.is_word(word) {
                return;
            }
        }
    }

    fn axis_declaration(&mut self) -> Parsed<AxisDeclaration> {
        let axis = self.name("an axis")?;
        let size = if self.eat(":") { Some(self.expression()?) } else { None };
        Ok(AxisDeclaration { axis, size })
    }

    fn declared_axes(&mut self) -> Parsed<Vec<AxisDeclaration>> {
        self.want("[")?;
        self.list("]", Self::axis_declaration)
    }

    fn declared(&mut self) -> Parsed<Declared> {
        let name = self.name("the name of a result")?;
        if !self.is("[") {
            return self.expected(&format!("the axes of `{}` in brackets", name.text));
        }
        Ok(Declared { name, axes: self.declared_axes()? })
    }

    fn function(&mut self) -> Parsed<Function> {
        let start = self.span();
        self.mentions.clear();
        if !self.eat_word("fn") {
            return self.expected("`fn`");
        }
        let name = if self.is("(") { None } else { Some(self.name("the name of the function")?) };
        self.want("(")?;
        let parameters = self.list(")", Self::parameter)?;
        self.want("->")?;
        let outputs = if self.eat("(") { self.list(")", Self::declared)? } else { vec![self.declared()?] };
        let span = start.to(self.previous());
        let body = self.block()?;
        Ok(Function { name, parameters, outputs, body, span, mentions: mem::take(&mut self.mentions) })
    }

    fn parameter(&mut self) -> Parsed<Parameter> {
        if self.eat_word("axis") {
            return Ok(Parameter { name: self.name("an axis")?, kind: ParameterKind::Axis });
        }
        let name = self.name("a parameter")?;
        let kind = if self.is("[") {
            ParameterKind::Tensor(self.declared_axes()?)
        } else if self.eat("=") {
            ParameterKind::Static(Some(self.expression()?))
        } else {
            ParameterKind::Static(None)
        };
        Ok(Parameter { name, kind })
    }

    fn block(&mut self) -> Parsed<Vec<Statement>> {
        self.want("{")?;
        self.nested(|parser| {
            let outside = mem::replace(&mut parser.multiline, false);
            let statements = parser.statements();
            parser.multiline = outside;
            if parser.is("}") {
                parser.next();
                return Ok(statements);
            }
            parser.expected("a statement or `}`")
        })
    }

    /// Statements up to something that cannot begin one.
    fn statements(&mut self) -> Vec<Statement> {
        let mut statements = Vec::new();
        while !self.is("}") && *self.kind() != TokenKind::End {
            let (start, depth) = (self.at, self.depth);
            match self.statement() {
                Ok(statement) => {
                    statements.push(statement);
                    if !self.token().line && !self.is("}") {
                        self.expected::<()>("a new line").ok();
                        self.skip_line(start);
                    }
                }
                Err(Reported) => {
                    self.depth = depth;
                    self.multiline = false;
                    if self.at == start {
                        self.next();
                    }
                    self.skip_line(start);
                }
            }
        }
        statements
    }

    /// Skips to the line after, or to the brace that closes what the statement at `start` stands in.
    fn skip_line(&mut self, start: usize) {
        let step = |kind: &TokenKind| match kind {
            TokenKind::Sign("{") => 1,
            TokenKind::Sign("}") => -1,
            _ => 0,
        };
        let mut open: i32 = self.tokens[start..self.at].iter().map(|token| step(&token.kind)).sum();
        while *self.kind() != TokenKind::End && !(open <= 0 && (self.token().line || self.is("}"))) {
            open += step(self.kind());
            self.next();
        }
    }

    fn statement(&mut self) -> Parsed<Statement> {
        if self.eat_word("for") {
            let variable = self.name("a loop variable")?;
            if !self.eat_word("in") {
                return self.expected("`in`");
            }
            let from = self.expression()?;
            self.want("..")?;
            let to = self.expression()?;
            return Ok(Statement::For { variable, from, to, body: self.block()? });
        }
        if self.eat_word("if") {
            return self.if_statement();
        }
        let targets = if self.eat("(") {
            self.list(")", |parser| parser.target("a name"))?
        } else {
            vec![self.target("a statement")?]
        };
        self.want("=")?;
        Ok(Statement::Assign { targets, value: self.expression()? })
    }

    fn target(&mut self, what: &str) -> Parsed<Target> {
        let name = self.name(what)?;
        let member = if self.eat("[") { Some(self.number_in_brackets()?) } else { None };
        Ok(Target { name, member })
    }

    /// An expression and the bracket that closes it.
    fn number_in_brackets(&mut self) -> Parsed<Expression> {
        let number = self.bracketed(Self::expression)?;
        self.want("]")?;
        Ok(number)
    }

    fn if_statement(&mut self) -> Parsed<Statement> {
        let condition = self.expression()?;
        let then = self.block()?;
        let otherwise = if !self.eat_word("else") {
            Vec::new()
        } else if self.eat_word("if") {
            vec![self.nested(Self::if_statement)?]
        } else {
            self.block()?
        };
        Ok(Statement::If { condition, then, otherwise })
    }

    pub(super) fn expression(&mut self) -> Parsed<Expression> {
        self.binary(0)
    }

    /// The operator at hand, with how tightly it binds.
    fn operator(&self) -> Option<(ScalarOp, u8)> {
        Some(match self.kind() {
            TokenKind::Name(word) if word == "or" => (ScalarOp::Or, 1),
            TokenKind::Name(word) if word == "and" => (ScalarOp::And, 2),
            TokenKind::Sign(sign) => match *sign {
                "<" | ">" => (ScalarOp::Less, 4),
                "<=" | ">=" => (ScalarOp::LessEqual, 4),
                "==" => (ScalarOp::Equal, 4),
                "!=" => (ScalarOp::NotEqual, 4),
                "+" => (ScalarOp::Add, 5),
                "-" => (ScalarOp::Sub, 5),
                "*" => (ScalarOp::Mul, 6),
                "/" => (ScalarOp::Div, 6),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn binary(&mut self, least: u8) -> Parsed<Expression> {
        self.nested(|parser| {
            let mut left = if least <= 3 && parser.is_word("not") {
                let start = parser.span();
                parser.next();
                let operand = parser.binary(4)?;
                unary(Unary::Not, start, operand)
            } else {
                parser.unary()?
            };
            let mut links = 0;
            while let Some((op, level)) = parser.operator().filter(|(_, level)| *level >= least) {
                links += 1;
                if links > DEEPEST {
                    let problem = Problem::new(parser.span(), format!("more than {DEEPEST} terms in a row"))
                        .help("name a part of it on a line of its own");
                    return parser.fail(problem);
                }
                let flipped = parser.is(">") || parser.is(">=");
                parser.next();
                let right = parser.binary(level + 1)?;
                let span = left.span.to(right.span);
                let (first, second) = if flipped { (right, left) } else { (left, right) };
                left = Expression { span, kind: ExpressionKind::Binary(op, Box::new(first), Box::new(second)) };
                if level == 4 && parser.operator().is_some_and(|(_, next)| next == 4) {
                    let problem =
                        Problem::new(parser.span(), "comparisons cannot be chained").help("write `a < b and b < c`");
                    return parser.fail(problem);
                }
            }
            Ok(left)
        })
    }

    fn unary(&mut self) -> Parsed<Expression> {
        let start = self.span();
        let op = match self.kind() {
            TokenKind::Sign("-") => Unary::Negate,
            TokenKind::Sign("±") => Unary::PlusMinus,
            _ => return self.power(),
        };
        self.next();
        // A distribution's `± a / b` takes the whole quotient; a minus takes one power.
        let operand = match op {
            Unary::PlusMinus => self.nested(|parser| parser.binary(5))?,
            _ => self.nested(Self::unary)?,
        };
        Ok(unary(op, start, operand))
    }

    fn power(&mut self) -> Parsed<Expression> {
        let base = self.postfix()?;
        if !self.eat("^") {
            return Ok(base);
        }
        let exponent = self.nested(Self::unary)?;
        let span = base.span.to(exponent.span);
        Ok(Expression { span, kind: ExpressionKind::Binary(ScalarOp::Pow, Box::new(base), Box::new(exponent)) })
    }

    fn postfix(&mut self) -> Parsed<Expression> {
        let mut base = self.primary()?;
        let mut links = 0;
        while self.continues() {
            let kind = if self.eat("(") {
                let arguments = self.list(")", Self::argument)?;
                ExpressionKind::Call(Box::new(base), arguments)
            } else if self.eat("[") {
                self.brackets(base)?
            } else if self.eat(".") {
                ExpressionKind::Layer(Box::new(base), self.name("a layer")?)
            } else {
                break;
            };
            links += 1;
            if links > DEEPEST {
                let problem = Problem::new(self.span(), format!("more than {DEEPEST} calls and views in a chain"));
                return self.fail(problem);
            }
            let start = match &kind {
                ExpressionKind::Call(base, _) | ExpressionKind::Layer(base, _) => base.span,
                ExpressionKind::Level(base, _) | ExpressionKind::View(base, _) => base.span,
                _ => self.previous(),
            };
            base = Expression { span: start.to(self.previous()), kind };
        }
        Ok(base)
    }

    /// What follows an opening bracket: a level of a stack, or the items of a view.
    fn brackets(&mut self, base: Expression) -> Parsed<ExpressionKind> {
        let ahead = |offset: usize| self.tokens.get(self.at + offset).map(|token| &token.kind);
        let first = matches!(ahead(0), Some(TokenKind::Name(_) | TokenKind::Sign("(")));
        let view = first
            && (0..).map_while(ahead).take_while(|kind| !matches!(kind, TokenKind::Sign("]") | TokenKind::End)).any(
                |kind| matches!(kind, TokenKind::Sign("=")) || matches!(kind, TokenKind::Name(word) if word == "as"),
            );
        if view {
            return Ok(ExpressionKind::View(Box::new(base), self.list("]", Self::view_item)?));
        }
        Ok(ExpressionKind::Level(Box::new(base), Box::new(self.number_in_brackets()?)))
    }

    fn view_item(&mut self) -> Parsed<ViewItem> {
        let start = self.span();
        let from =
            if self.eat("(") { self.list(")", |parser| parser.name("an axis"))? } else { vec![self.name("an axis")?] };
        if self.eat_word("as") {
            let to =
                if self.eat("(") { self.list(")", Self::axis_declaration)? } else { vec![self.axis_declaration()?] };
            return Ok(ViewItem::Reshape { span: start.to(self.previous()), from, to });
        }
        let [axis] = from.as_slice() else { return self.expected("`as`") };
        let axis = axis.clone();
        if !self.eat("=") {
            return self.expected("`as` or `=`");
        }
        let from = if self.is("..") { None } else { Some(self.expression()?) };
        if !self.eat("..") {
            return match from {
                Some(at) => Ok(ViewItem::Select { axis, at }),
                None => self.expected("a position or a range"),
            };
        }
        let ends = self.is(",") || self.is("]") || self.is_word("by");
        let to = if ends { None } else { Some(self.expression()?) };
        let step = if self.eat_word("by") { Some(self.expression()?) } else { None };
        Ok(ViewItem::Range { span: start.to(self.previous()), axis, from, to, step })
    }

    fn argument(&mut self) -> Parsed<Argument> {
        let named = matches!(self.kind(), TokenKind::Name(_))
            && matches!(self.tokens.get(self.at + 1), Some(Token { kind: TokenKind::Sign("="), .. }));
        let name = if named { Some(self.name("the name of an argument")?) } else { None };
        if named {
            self.next();
        }
        Ok(Argument { name, value: self.argument_value()? })
    }

    /// An expression, or an axis with its size.
    fn argument_value(&mut self) -> Parsed<Expression> {
        let sized = matches!(self.kind(), TokenKind::Name(_))
            && matches!(self.tokens.get(self.at + 1), Some(Token { kind: TokenKind::Sign(":"), .. }));
        if !sized {
            return self.expression();
        }
        let axis = self.name("an axis")?;
        self.next();
        let size = self.expression()?;
        Ok(Expression { span: axis.span.to(size.span), kind: ExpressionKind::Sized(axis, Box::new(size)) })
    }

    fn primary(&mut self) -> Parsed<Expression> {
        let span = self.span();
        let kind = match self.kind() {
            TokenKind::Integer(value) => ExpressionKind::Integer(*value),
            TokenKind::Real(value) => ExpressionKind::Real(*value),
            TokenKind::Name(word) if word == "true" => ExpressionKind::Switch(true),
            TokenKind::Name(word) if word == "false" => ExpressionKind::Switch(false),
            TokenKind::Name(word) if word == "if" => return self.conditional(),
            TokenKind::Name(_) => {
                let name = self.name("an expression")?;
                return Ok(Expression { span, kind: ExpressionKind::Name(name.text) });
            }
            TokenKind::Sign("(") => {
                self.next();
                let inner = self.bracketed(Self::expression)?;
                self.want(")")?;
                return Ok(inner);
            }
            _ => return self.expected("an expression"),
        };
        self.next();
        Ok(Expression { span, kind })
    }

    fn conditional(&mut self) -> Parsed<Expression> {
        let start = self.span();
        self.next();
        let condition = self.expression()?;
        let then = self.branch()?;
        if !self.eat_word("else") {
            return self.expected("`else`");
        }
        let otherwise = if self.is_word("if") { self.nested(Self::conditional)? } else { self.branch()? };
        let span = start.to(self.previous());
        Ok(Expression { span, kind: ExpressionKind::If(Box::new([condition, then, otherwise])) })
    }

    fn branch(&mut self) -> Parsed<Expression> {
        self.want("{")?;
        let value = self.bracketed(Self::expression)?;
        self.want("}")?;
        Ok(value)
    }
}

fn unary(op: Unary, start: Span, operand: Expression) -> Expression {
    Expression { span: start.to(operand.span), kind: ExpressionKind::Unary(op, Box::new(operand)) }
}
