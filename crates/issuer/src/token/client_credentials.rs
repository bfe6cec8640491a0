use super::{Asked, TokenResponse};
use crate::{Issuer, OAuthError};

impl Issuer {
    /// RFC 6749 §4.4: the agent asks for itself.
    pub(super) async fn client_credentials(&self, asked: Asked<'_>) -> Result<TokenResponse, OAuthError> {
        let asker = self.asker(asked).await?;
        let granted = async {
            let granted = self.rooted(asked, &asker, None).await?;
            self.mint(granted).map(|response| response.resting_on(asker.token.clone()))
        };
        granted.await.map_err(|error| error.of(&asker.agent.id))
    }
}
