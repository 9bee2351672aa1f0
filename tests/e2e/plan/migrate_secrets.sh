#!/bin/bash
set -euo pipefail

SECRETS_URL="http://127.0.0.1:8081"
ADMIN_CLIENT="admin"

# Source existing .env to get current values
source ../.env

echo "🔐 Migrating secrets to jarvis-secretsd..."

# Function to create secret
create_secret() {
    local name=$1
    local value=$2

    echo "Creating secret: $name"
    curl -s -X POST "$SECRETS_URL/secret" \
        -H "X-Jarvis-Client: $ADMIN_CLIENT" \
        -H "Content-Type: application/json" \
        -d "{\"name\":\"$name\",\"value\":\"$value\"}" || {
        echo "❌ Failed to create secret: $name"
        exit 1
    }
    echo "✅ Created: $name"
}

# Function to generate new secret
generate_secret() {
    local name=$1
    local type=$2

    echo "Generating new secret: $name (type: $type)"
    # Use jarvis-secretsd's built-in generation
    # For now, we'll create manually

    case "$type" in
        "jwt_signing_key")
            # Generate Ed25519 key
            VALUE=$(openssl rand -base64 32)
            ;;
        "password")
            # Generate 64-char password
            VALUE=$(openssl rand -base64 48 | tr -d '/+=' | head -c 64)
            ;;
        "api_key")
            # Generate 32-char API key
            VALUE=$(openssl rand -base64 24 | tr -d '/+=' | head -c 32)
            ;;
        *)
            VALUE=$(openssl rand -base64 32)
            ;;
    esac

    create_secret "$name" "$VALUE"
}

# Migrate existing secrets
echo ""
echo "📋 Migrating existing secrets from .env..."
create_secret "home_assistant_token" "$HOME_ASSISTANT_TOKEN"
create_secret "home_assistant_url" "$HOME_ASSISTANT_URL"
create_secret "brave_api_key" "$BRAVE_API_KEY"
create_secret "tavily_api_key" "$TAVILY_API_KEY"

# Generate new secure secrets
echo ""
echo "🔑 Generating new secure secrets..."
generate_secret "jwt_signing_key" "jwt_signing_key"
generate_secret "postgres_password" "password"
generate_secret "jarvis_encryption_key" "jwt_signing_key"

# Optional: Add more API keys
if [[ -n "${DUCKDUCKGO_API_KEY:-}" ]]; then
    create_secret "duckduckgo_api_key" "$DUCKDUCKGO_API_KEY"
fi

if [[ -n "${BROWSERBASE_API_KEY:-}" ]]; then
    create_secret "browserbase_api_key" "$BROWSERBASE_API_KEY"
fi

echo ""
echo "✅ Secret migration complete!"
echo ""
echo "📊 Verifying secrets..."
curl -s "$SECRETS_URL/secrets" \
    -H "X-Jarvis-Client: $ADMIN_CLIENT" | jq '.secrets | length'

echo ""
echo "⚠️  IMPORTANT: Update database password manually:"
echo "   docker-compose exec postgres psql -U jarvis -d jarvis_db -c \"ALTER USER jarvis PASSWORD '<new_password>';\""
