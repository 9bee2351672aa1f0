# make test   sets everything up and runs the tests, as anybody, without root
# make run    sets everything up, then a daemon with a sample secret, until Ctrl-C
#
# sudo make install     the daemon for this host: its own venv, commands, systemd units, user jarvis
# sudo make uninstall   all of that away again; state, configuration and the user stay
#
# PYTHON=python3.12 chooses the interpreter; ARGS=... is handed on. EXTRAS=postgres brings the
# PostgreSQL hook's driver. PREFIX, VENVDIR and DESTDIR say where to install.

PYTHON ?= python3
ARGS ?=
EXTRAS ?=
PREFIX ?= /usr/local
VENVDIR ?= /opt/jarvis-secretsd
DESTDIR ?=
VENV := .venv
READY := $(VENV)/.ready

.PHONY: test run setup clean install uninstall

test: $(READY)
	@$(VENV)/bin/pytest $(ARGS)

run: $(READY)
	@examples/first-five-minutes $(ARGS)

setup: $(READY)

# an existing environment keeps the Python it was made with
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) isn't Python 3.11 or newer with venv (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml | $(VENV)/bin/python
	@echo "Fetching what the tools and the tests need: a minute or so, in which pip shows nothing."
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

BIN := $(DESTDIR)$(PREFIX)/bin
LIB := $(DESTDIR)$(PREFIX)/lib
INTO := $(DESTDIR)$(VENVDIR)
DROP_INS := $(LIB)/systemd/system/jarvis-secretsd.service.d
UNITS := $(notdir $(wildcard $(addprefix systemd/*.,service socket target path timer)))
ON_THIS_HOST := $(if $(DESTDIR),,$(wildcard /run/systemd/system))

# pip builds from a copy: in place it would leave files of root's here, and take in old ones
install:
	umask 022 && $(PYTHON) -m venv $(INTO)
	source=$$(mktemp -d) && trap 'rm -rf "$$source"' EXIT \
	  && cp -r pyproject.toml README.md LICENSE jarvis_secretsd "$$source" \
	  && umask 022 && $(INTO)/bin/pip install --quiet --disable-pip-version-check --upgrade \
	    "$$source$(if $(EXTRAS),[$(EXTRAS)])"
	$(if $(DESTDIR),grep -rlI '$(INTO)' $(INTO)/bin $(INTO)/pyvenv.cfg | xargs sed -i 's|$(INTO)|$(VENVDIR)|g')
	install -d $(BIN) $(LIB)/systemd/system $(LIB)/sysusers.d $(LIB)/tmpfiles.d
	for command in $(INTO)/bin/*jarvis*; do \
	  ln -sfn $(VENVDIR)/bin/$${command##*/} $(BIN)/; done
	umask 022; for unit in $(UNITS); do \
	  sed 's|/usr/local/bin/|$(PREFIX)/bin/|' systemd/$$unit >$(LIB)/systemd/system/$$unit; done
	install -m 0644 systemd/sysusers.d/jarvis-secretsd.conf $(LIB)/sysusers.d/
	install -m 0644 systemd/tmpfiles.d/jarvis-secretsd.conf $(LIB)/tmpfiles.d/
ifneq ($(ON_THIS_HOST),)
	if systemctl --version | awk 'NR == 1 {exit $$2 + 0 < 253}'; then \
	  install -D -m 0644 systemd/examples/jarvis-secretsd.service.d/notify-reload.conf -t $(DROP_INS); fi
	systemd-sysusers jarvis-secretsd.conf
	systemd-tmpfiles --create jarvis-secretsd.conf
	systemctl daemon-reload
endif

uninstall:
ifneq ($(ON_THIS_HOST),)
	-systemctl disable --quiet --now $(UNITS)
endif
	for command in $(INTO)/bin/*jarvis*; do rm -f $(BIN)/$${command##*/}; done
	rm -rf $(INTO) $(DROP_INS) $(addprefix $(LIB)/systemd/system/,$(UNITS))
	rm -f $(LIB)/sysusers.d/jarvis-secretsd.conf $(LIB)/tmpfiles.d/jarvis-secretsd.conf
ifneq ($(ON_THIS_HOST),)
	systemctl daemon-reload
endif
	@echo "What stays: /etc/jarvis-secretsd, /var/lib/jarvis-secretsd and -backups, and the user jarvis."

clean:
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
