"""Keys of well-known services, identified by their format.

The patterns are rewritten from detect-secrets (Apache-2.0) and the rules of gitleaks (MIT, © 2019 Zachary Rice). They
are looser in length, because services change it. Each pattern requires a marker text, so that a file without the marker
costs almost no time. Each tries a bounded number of characters from its start.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from detect_secrets.plugins.artifactory import ArtifactoryDetector
from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.npm import NpmDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

from starling_server.files.secrets import plausible

Found = tuple[int, int, str]
"""Start and end of a value, and its kind."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The format of one kind of key. The secret is the pattern's first group, or the whole match if it has no group."""

    kind: str
    marks: tuple[str, ...]
    """Every text with such a key contains one of these."""
    pattern: re.Pattern[str]


def _shape(kind: object, marks: str, pattern: str) -> Shape:
    """A shape that starts at a word boundary; `marks` are separated by spaces."""
    return Shape(str(kind), tuple(marks.split()), re.compile(rf"(?<![A-Za-z0-9])(?:{pattern})"))


SHAPES = (
    _shape(
        AWSKeyDetector.secret_type,
        "A3T ABIA ACCA AKIA ASIA",
        r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}(?![A-Za-z0-9])",
    ),
    _shape(
        AWSKeyDetector.secret_type, "ABSK bedrock-api-key-", r"(?:ABSK|bedrock-api-key-)[A-Za-z0-9+/]{40,300}={0,2}"
    ),
    _shape(GitHubTokenDetector.secret_type, "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_\w{20,255}"),
    _shape(GitHubTokenDetector.secret_type, "github_pat_", r"github_pat_\w{20,255}"),
    _shape(
        GitLabTokenDetector.secret_type,
        "glpat- gldt- glft- glsoat- glrt- glcbt- glimt- glptt- glagent- gloas- glffct-",
        r"gl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas|ffct)-[\w\-]{16,300}(?:\.\w{2,9}){0,2}",
    ),
    _shape(GitLabTokenDetector.secret_type, "GR1348941", r"GR1348941[\w\-]{16,60}"),
    _shape(
        SlackDetector.secret_type,
        "xoxa- xoxb- xoxp- xoxo- xoxs- xoxr- xoxe xoxc- xoxd-",
        r"xox[a-z](?:\.xox[bp])?-[\w\-%]{10,300}",
    ),
    _shape(SlackDetector.secret_type, "xapp-", r"xapp-\d-[\w\-]{10,200}"),
    _shape("Slack Webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/([\w/+]{16,100})"),
    _shape("Discord Webhook", "/api/webhooks/", r"discord(?:app)?\.com/api/webhooks/(\d{5,25}/[\w\-]{16,100})"),
    _shape("Teams Webhook", "webhook.office.com", r"[\w\-]{1,60}\.webhook\.office\.com/webhookb2/([\w\-@/]{30,300})"),
    _shape("Zapier Webhook", "hooks.zapier.com", r"hooks\.zapier\.com/hooks/catch/([\w/]{6,60})"),
    _shape("Discord Bot Token", ".", r"[MNO][\w\-]{22,27}\.[\w\-]{6}\.[\w\-]{27,45}(?![\w\-])"),
    _shape(TelegramBotTokenDetector.secret_type, ":", r"(?:bot)?(\d{8,10}:[\w\-]{33,37})(?![\w\-])"),
    _shape(StripeDetector.secret_type, "k_live_ k_test_ k_prod_", r"[sr]k_(?:live|test|prod)_\w{10,120}"),
    _shape("Webhook Secret", "whsec_", r"whsec_[\w+/=]{16,100}"),
    _shape("Anthropic Token", "sk-ant-", r"sk-ant-[\w\-]{16,200}"),
    _shape(
        OpenAIDetector.secret_type,
        "sk-",
        r"sk-(?:(?:proj|svcacct|admin|None)-[\w\-]{16,250}|[A-Za-z0-9]{28,100}|(?:or|lf"
        r"|\w{2,8})-(?:v1-)?[A-Za-z0-9]{20,100})",
    ),
    _shape("Hugging Face Token", "hf_ api_org_", r"(?:hf|api_org)_[A-Za-z0-9]{28,50}(?!\w)"),
    _shape("Google API Key", "AIza", r"AIza[\w\-]{30,45}(?![\w\-])"),
    _shape(
        "Google OAuth Secret", "GOCSPX- ya29. 1//0", r"GOCSPX-[\w\-]{16,60}|ya29\.[\w\-.]{20,500}|1//0[\w\-]{25,150}"
    ),
    _shape("Azure Client Secret", "Q~", r"[\w~.]{3}\dQ~[\w~.\-]{25,40}"),
    _shape(
        "Azure Storage Account access key",
        "AccountKey AccessKey accountkey",
        r"(?:Account|SharedAccess|Shared|Access|account)[Kk]ey=([A-Za-z0-9+/]{30,120}={0,2})",
    ),
    _shape("Azure Shared Access Signature", "sig=", r"sig=([A-Za-z0-9%+/\-_]{20,150}={0,2})"),
    _shape("Sentry Token", "sntrys_ sntryu_", r"sntry[su]_[\w+/=\-.]{16,500}"),
    _shape("Sentry DSN", "https:// http://", r"https?://([0-9a-f]{32}(?::[0-9a-f]{32})?)@[\w.\-]{3,100}/\d"),
    _shape("DigitalOcean Token", "_v1_", r"do[opr]_v1_[A-Za-z0-9]{32,100}"),
    _shape(NpmDetector.secret_type, "npm_", r"npm_[A-Za-z0-9]{30,60}(?!\w)"),
    _shape(PypiTokenDetector.secret_type, "pypi-", r"pypi-Ag[\w\-]{20,1000}"),
    _shape(TwilioKeyDetector.secret_type, "AC SK", r"(?:AC|SK)[0-9a-f]{32}(?![A-Za-z0-9])"),
    _shape(SendGridDetector.secret_type, "SG.", r"SG\.[\w\-]{16,40}\.[\w\-]{16,60}"),
    _shape("Mailgun Key", "key-", r"key-[0-9a-f]{32}(?![A-Za-z0-9])"),
    _shape("Mailgun Key", "-", r"[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}(?![\w\-])"),
    _shape(MailchimpDetector.secret_type, "-us", r"[0-9a-z]{32}-us\d{1,2}(?![A-Za-z0-9])"),
    _shape(SquareOAuthDetector.secret_type, "sq0", r"sq0(?:csp|atp|idp)-[\w\-]{20,60}"),
    _shape(ArtifactoryDetector.secret_type, "AKCp cmVmd", r"AKCp[A-Za-z0-9]{40,100}|cmVmd[A-Za-z0-9]{55,65}"),
    _shape("Shopify Token", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    _shape("Databricks Token", "dapi", r"dapi[0-9a-f]{32}(?:-\d)?"),
    _shape("Docker Token", "dckr_", r"dckr_(?:pat|oat)_[\w\-]{20,60}"),
    _shape("Vault Token", "hvs. hvb. hvr.", r"hv[sbr]\.[\w\-]{20,300}"),
    _shape("Terraform Token", ".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[\w\-=]{40,80}"),
    _shape("Grafana Token", "glsa_ glc_", r"glsa_[A-Za-z0-9]{20,40}_[0-9A-Fa-f]{8}|glc_[A-Za-z0-9+/]{32,400}={0,3}"),
    _shape("Age Secret Key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    _shape("Atlassian Token", "ATATT3 ATBB ATCTT3", r"(?:ATATT3|ATCTT3|ATBB)[\w\-=]{24,250}"),
    _shape("Alibaba Key", "LTAI", r"LTAI[A-Za-z0-9]{16,24}(?!\w)"),
    _shape("Dynatrace Token", "dt0c01.", r"dt0c01\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{64}"),
    _shape("1Password Token", "ops_eyJ", r"ops_eyJ[A-Za-z0-9+/]{100,1500}={0,3}"),
    _shape("1Password Secret Key", "A3-", r"A3-[A-Z0-9]{6}(?:-[A-Z0-9]{5,11}){4,5}"),
    _shape("Heroku Key", "HRKU-", r"HRKU-[\w\-]{36,70}"),
    _shape("Postman Key", "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    _shape("New Relic Key", "NRAK- NRAA- NRII- NRIQ- NRRA-", r"NR(?:AK|AA|II|IQ|RA)-[\w\-]{25,50}"),
    _shape("Sonar Token", "sqp_ squ_ sqa_", r"sq[pua]_[0-9a-f]{40}"),
    _shape("Sendinblue Key", "xkeysib-", r"xkeysib-[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    _shape("OpenShift Token", "sha256~", r"sha256~[\w\-]{43}(?![\w\-])"),
    _shape("Cloudflare Key", "v1.0-", r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}"),
    _shape("Facebook Token", "EAA", r"EAA[A-Za-z0-9]{90,300}"),
    _shape(
        "Service Token",
        "lin_api_ rubygems_ pul- rdme_ pscale_ ntn_ pplx- gsk_ r8_ xai- sbp_ shippo_ tfp_ duffel_ EZAK "
        "EZTK FLWSECK fio-u- tskey- "
        "figd_ CFPAT- bkua_ nfp_ lsv2_ pcsk_ pnu_ CCIPAT_ dp.pt. fo1_ fm2_ API- glpt_ phc_ phx_ fcm_ rnd_ tvly-",
        r"(?:lin_api_|rubygems_|pul-|rdme_|pscale_(?:tkn|oauth|pw)_|ntn_|pplx-|gsk_|r8_|xai-|sbp_"
        r"|shippo_(?:live|test)_|tfp_|"
        r"duffel_(?:live|test)_|EZ[AT]K|FLWSECK(?:_TEST)?-|fio-u-|tskey-\w{2,10}-|figd_|CFPAT-|bkua_|nfp_"
        r"|lsv2_(?:pt|sk)_|pcsk_|pnu_|"
        r"CCIPAT_|dp\.pt\.|fo1_|fm2_|API-|phx_|rnd_|tvly-)[\w\-=]{20,300}",
    ),
    _shape(
        "Password Hash",
        "$",
        r"\$(?:apr1|1|5|6|2[abxy]|y|7|md5|argon2\w{1,2}|pbkdf2(?:-\w{1,10})?|scrypt)\$[\w./$=,+\-]{20,300}",
    ),
    _shape(
        "Password Hash",
        "pbkdf2_ {SHA {SSHA bcrypt_sha256$",
        r"(?:pbkdf2_sha\d{1,3}|bcrypt_sha256)\$[\w+/$=.]{20,200}|\{S?SHA\d{0,3}\}[A-Za-z0-9+/]{16,120}={0,2}",
    ),
)
_JWT = re.compile(r"(?<![\w\-])eyJ[\w\-]{8,4000}={0,2}\.[\w\-]{8,8000}={0,2}(?:\.[\w\-+/]{0,4000}={0,2}){0,3}")
_BODY = re.compile(r"[^_\-.]+[_\-.](.*)", re.DOTALL)
_PEM = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)"
    r"((?:(?!-----)[^-]|-(?!----)){8,20000}?)(-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)"
)
_PEM_OPEN = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----((?:(?:[\s\"'+,]"
    r"|\\[nr]){0,40}[A-Za-z0-9+/=]{16,2000}){1,400})"
)
_RUN = re.compile(r"[A-Za-z0-9+/]{12,}")
_MIXED = re.compile(r"(?=\D*\d)(?=[^A-Z]*[A-Z])")
_BREAKS = re.compile(r"(?:\s|\\[nr])*")
_BREAKS_AT_END = re.compile(r"(?:\s|\\[nr])*\Z")
_PPK = re.compile(r"Private-Lines: \d{1,3}\s+((?:[A-Za-z0-9+/=]{4,100}\s){1,200})(?:Private-MAC: ([0-9a-f]{40,64}))?")


def find(text: str) -> Iterator[Found]:
    """Every service key, token and private key in `text`; they may overlap."""
    for shape in SHAPES:
        if _is_marked(text, shape.marks):
            for match in shape.pattern.finditer(text):
                start, end = match.span(1 if match.re.groups and match[1] else 0)
                if not _stands_in(text[start:end]):
                    yield start, end, shape.kind
    if "eyJ" in text:
        for match in _JWT.finditer(text):
            if _is_jwt(match[0]):
                yield *match.span(), str(JwtTokenDetector.secret_type)
    yield from _private_keys(text)


def _is_marked(text: str, marks: tuple[str, ...]) -> bool:
    for mark in marks:  # noqa: SIM110  # half the time of any() with a generator
        if mark in text:
            return True
    return False


def _private_keys(text: str) -> Iterator[Found]:
    kind = str(PrivateKeyDetector.secret_type)
    if "PRIVATE KEY" in text:
        for match in _PEM.finditer(text):
            if any(len(run) > 47 or _MIXED.search(run) for run in _RUN.findall(match[2])):
                yield *_inner(text, *match.span(2)), kind
        for match in _PEM_OPEN.finditer(text):
            yield *_inner(text, *match.span(1)), kind
    if "Private-Lines:" in text:
        for match in _PPK.finditer(text):
            yield match.start(1), match.end(1) - 1, kind
            if match[2]:
                yield *match.span(2), kind


def _inner(text: str, start: int, end: int) -> tuple[int, int]:
    """The span of a key without the line breaks around it, literal or escaped."""
    first, last = _BREAKS.match(text, start, end), _BREAKS_AT_END.search(text, max(start, end - 40), end)
    return (first.end() if first else start), (last.start() if last else end)


def _stands_in(value: str) -> bool:
    """Whether a key is a placeholder: `ghp_xxxxxxxx`, `sk-ant-your-key-here`."""
    body = _BODY.fullmatch(value)
    rest = body[1] if body and len(body[1]) >= plausible.LEAST else value
    if plausible.PLACEHOLDER in value or len(set(rest)) < 5 or "xxxxxx" in rest.lower():
        return True
    spaced = rest.count("_") + rest.count("-")
    return bool(spaced) and plausible.is_words(rest) and (rest.islower() or rest.isupper())


def _is_jwt(value: str) -> bool:
    """Whether the parts are JSON, or close enough to be a shortened real token."""
    parts = value.split(".")
    if parts[1].startswith("eyJ") and len(parts) > 2:
        return True
    try:
        json.loads(plausible.decoded_base64(parts[0].rstrip("=")))
    except ValueError:
        return False
    return len(parts) > 2 or parts[1].startswith("eyJ")
