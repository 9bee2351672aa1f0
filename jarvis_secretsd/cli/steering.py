"""Variables by which a program is made to run other code, or to trust somebody else.

Whoever may write such a secret may act as its reader. Left out is what only tunes (`LANG`,
`MALLOC_ARENA_MAX`) and what often is a secret itself (`https_proxy`, `PGPASSWORD`).
"""

from __future__ import annotations

import re

_STEERING = re.compile(
    r"""
    # who one is and where one's files are: environ(7)
    PATH | HOME | SHELL | USER | LOGNAME | PWD | TMPDIR | XDG_.* | SSH_AUTH_SOCK
    # the loader and libc, which drop these in setuid programs: ld.so(8)
    | LD_.* | GLIBC_TUNABLES | GCONV_PATH | GETCONF_DIR | GMON_OUT_PREFIX | HOSTALIASES
    | LOCALDOMAIN | LOCPATH | MUSL_LOCPATH | MALLOC_(?:CHECK_|TRACE) | NIS_PATH | NLSPATH
    | RES_OPTIONS | RESOLV_.* | TZDIR
    # shells
    | ENV | IFS | CDPATH | GLOBIGNORE | EXECIGNORE | PS[0-4] | PROMPT_COMMAND | SHELLOPTS | BASHOPTS
    | BASH_(?:ENV|FUNC_.*|LOADABLES_PATH|XTRACEFD) | HISTFILE | INPUTRC | POSIXLY_CORRECT
    | ZDOTDIR | FPATH | MODULE_PATH | (?:READ)?NULLCMD | TERMCAP | TERMINFO(?:_DIRS)?
    # interpreters
    | PYTHON(?:PATH|HOME|STARTUP|INSPECT|BREAKPOINT|USERBASE|EXECUTABLE|PLATLIBDIR|PYCACHEPREFIX
        |WARNINGS|_PRESITE|HTTPSVERIFY)
    | PERL5?(?:LIB|OPT|DB) | PERL5SHELL | RUBY(?:OPT|LIB|PATH|SHELL) | GEM_(?:HOME|PATH)
    | BUNDLE_(?:GEMFILE|PATH|APP_CONFIG)
    | NODE_(?:OPTIONS|PATH|EXTRA_CA_CERTS|REPL_EXTERNAL_MODULE|TLS_REJECT_UNAUTHORIZED)
    | (?i:npm_config)_(?i:script_shell|node_options|userconfig|globalconfig|prefix|registry)
    | (?:_JAVA|JAVA_TOOL|JDK_JAVA)_OPTIONS | JAVA_HOME | CLASSPATH
    | PHPRC | PHP_INI_SCAN_DIR | LUA_(?:INIT|PATH|CPATH)(?:_.*)? | ERL_(?:.*FLAGS|LIBS|INETRC)
    | R_(?:HOME|LIBS.*|PROFILE.*|ENVIRON.*) | DOTNET_(?:ROOT|STARTUP_HOOKS) | CORECLR_.*
    # programs that start programs
    | EDITOR | VISUAL | PAGER | MANPAGER | BROWSER | VIMINIT | EXINIT | LESS(?:OPEN|CLOSE|KEY.*)?
    | (?:SSH|SUDO)_ASKPASS | RSYNC_RSH | TAR_OPTIONS | (?:GNU)?MAKEFLAGS | MFLAGS | MAKEFILES
    | GIT_(?:SSH|SSH_COMMAND|SSL_.*|ASKPASS|CONFIG.*|DIR|EDITOR|EXEC_PATH|EXTERNAL_DIFF|PAGER
        |PROXY_COMMAND|SEQUENCE_EDITOR|TEMPLATE_DIR|WORK_TREE|ALLOW_PROTOCOL)
    | NOTIFY_SOCKET | LISTEN_(?:FDS|FDNAMES|PID) | CREDENTIALS_DIRECTORY
    # whom TLS believes, and who may listen
    | OPENSSL_(?:CONF.*|MODULES|ENGINES) | SSL_CERT_(?:FILE|DIR) | SSLKEYLOGFILE
    | (?:CURL|REQUESTS)_CA_BUNDLE | CURL_HOME | WGETRC | KRB5_CONFIG
    # our own
    | JARVIS_CLIENT_ID | JARVIS_SECRETS_.*
    """,
    re.VERBOSE,
)


def is_steering(variable: str) -> bool:
    """Whether this variable decides what code a program runs or whom it trusts."""
    return _STEERING.fullmatch(variable) is not None
