"""Tokens of an issuer's that let clients log in."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import choice, path, text, web_or_file, web_url

# Only those with a public key.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "oauth_issuer",
        text,
        None,
        "The issuer whose tokens are taken (auth = oauth; SASL OAUTHBEARER and XOAUTH2), exactly as it names itself.",
        "URL",
        "Tokens",
    ),
    Setting(
        "oauth_audience",
        text,
        (),
        "Whom a token must be for (aud): this service, as the issuer knows it. Of several any will do. Must be set "
        "where tokens are checked with oauth_keys.",
        "NAME",
        "Tokens",
        many=True,
    ),
    Setting(
        "oauth_keys",
        web_or_file,
        None,
        "The issuer's public keys (a JSON Web Key Set), at a URL or in a file: tokens are JWTs, and are checked here. "
        "The keys are read again every 15 minutes, and for a token whose key is not among them, but not more often "
        "than every 30 seconds.",
        "URL|FILE",
        "Tokens",
    ),
    Setting(
        "oauth_algorithms",
        choice(*ALGORITHMS),
        (),
        f"The signatures that are believed: {', '.join(ALGORITHMS)}.",
        "NAME",
        "Tokens",
        many=True,
        shown="all of these",
    ),
    Setting(
        "oauth_introspection",
        web_url,
        None,
        "Where the issuer is asked whether a token is good (RFC 7662), with oauth_client_id and the secret in "
        "oauth_client_secret_file. What it says holds for auth_cache_time, and no longer than the token. With "
        "oauth_keys too, a token must be good to both.",
        "URL",
        "Tokens",
    ),
    Setting("oauth_client_id", text, None, "Who asks there.", "NAME", "Tokens"),
    Setting(
        "oauth_client_secret_file",
        path,
        None,
        "The secret with which that is done, in the first line.",
        "FILE",
        "Tokens",
    ),
    Setting(
        "oauth_ca",
        path,
        None,
        "Authorities whose certificates are believed of the issuer's servers, PEM.",
        "FILE",
        "Tokens",
        shown="those of the system",
    ),
    Setting(
        "oauth_user_claim",
        text,
        "email",
        "Which claim of a token is the user name: one that users cannot choose. An email that the issuer says it has "
        "not verified is none.",
        "NAME",
        "Tokens",
    ),
    Setting("oauth_scope", text, (), "Scopes that a token must have, all of them.", "NAME", "Tokens", many=True),
)
