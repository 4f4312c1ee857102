# shellcheck shell=bash
# The linters of ./setup/test, ./setup/lint and .pre-commit-config.yaml. They run from the repository's folder.

LINTERS=(ruff bandit pylint-odoo shellcheck)

is_linter() { [[ " ${LINTERS[*]} " == *" $1 "* ]]; }

shell_scripts() { grep -lE '^#!.*(ba)?sh$|^# shellcheck shell=' -rI setup tests .ci; }

# run_linter NAME
run_linter() {
    local scripts
    case $1 in
        ruff) ruff check --quiet --output-format concise . ;;
        bandit) bandit --quiet --configfile pyproject.toml --recursive wechat_merchant_bind setup ;;
        pylint-odoo) pylint --rcfile=.pylintrc wechat_merchant_bind ;;
        shellcheck)
            mapfile -t scripts < <(shell_scripts)
            shellcheck "${scripts[@]}"
            ;;
    esac
}
